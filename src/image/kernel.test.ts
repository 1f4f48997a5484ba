import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadOrder, moduleDependencies, withoutSignature } from './kernel.ts'

function moduleWith(dependencies: string): Buffer {
  return Buffer.from(`\x7fELF\0license=GPL\0depends=${dependencies}\0intree=Y\0`, 'latin1')
}

function signed(content: Buffer, signatureBytes: number): Buffer {
  const information = Buffer.alloc(12)
  information[2] = 2
  information.writeUInt32BE(signatureBytes, 8)
  const mark = Buffer.from('~Module signature appended~\n')
  return Buffer.concat([content, Buffer.alloc(signatureBytes, 0xaa), information, mark])
}

test('dependencies are read from .modinfo by the names that the kernel uses', () => {
  assert.deepEqual(moduleDependencies(moduleWith('jbd2,crc16,some-thing')), ['jbd2', 'crc16', 'some_thing'])
  assert.deepEqual(moduleDependencies(moduleWith('')), [])
})

test('a signature is cut off, and a module without one stays as it is', () => {
  const content = moduleWith('')
  assert.deepEqual(withoutSignature(signed(content, 700)), content)
  assert.deepEqual(withoutSignature(content), content)
})

test('each module is loaded once and after all that it depends on', async () => {
  const modules = new Map([
    ['ext4', 'jbd2,mbcache'],
    ['jbd2', 'crc32c'],
    ['mbcache', ''],
    ['virtio_rng', ''],
  ])
  const read = async (name: string) => {
    const dependencies = modules.get(name)
    return dependencies === undefined ? undefined : moduleWith(dependencies)
  }
  const order = await loadOrder(['virtio-rng', 'ext4', 'jbd2', 'built_in'], read)
  assert.deepEqual(
    order.map((module) => module.name),
    ['virtio_rng', 'jbd2', 'mbcache', 'ext4'],
  )
})
