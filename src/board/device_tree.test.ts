/**
 * The golden text is the tree of a board with two harts; `node src/board/device_tree.test.ts --rewrite` writes it
 * anew. Where dtc is installed it checks the blob as well.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { UserError } from '../base/errors.ts'
import { type DeviceTreeOptions, deviceTree } from './device_tree.ts'
import { cells, flattenDeviceTree, node, present, strings, wideCells } from './fdt.ts'
import { deviceTreeText } from './testing/fdt_text.ts'

const goldenPath = fileURLToPath(new URL('./golden/device_tree.dts', import.meta.url))

const twoHarts: DeviceTreeOptions = {
  harts: 2,
  ramBytes: 512 * 2 ** 20,
  bootArguments: 'console=ttyS0 root=/dev/vda',
  initrd: { start: 0x8800_0000, end: 0x8812_3456 },
  rngSeed: Uint8Array.from({ length: 32 }, (_, index) => 0xff - index),
  virtioSlots: 4,
}

const dtcMissing = spawnSync('dtc', ['--version']).error !== undefined
const skip = dtcMissing && process.env['CI'] !== 'true' && 'dtc is not installed (device-tree-compiler)'

function dtc(from: string, to: string, input: Uint8Array | string): { output: Buffer; warnings: string } {
  const { error, status, stdout, stderr } = spawnSync('dtc', ['-I', from, '-O', to], { input })
  if (error) throw error
  assert.equal(status, 0, stderr.toString())
  return { output: stdout, warnings: stderr.toString() }
}

test('the tree of a board with two harts is the golden one', () => {
  const text = deviceTreeText(deviceTree(twoHarts))
  if (process.argv.includes('--rewrite')) writeFileSync(goldenPath, text)
  assert.equal(text, readFileSync(goldenPath, 'utf8'))
})

test('dtc reads every board without a warning, and as we do', { skip }, () => {
  for (const harts of [1, 2, 8]) {
    for (const virtioSlots of [0, 8]) {
      const blob = deviceTree({ ...twoHarts, harts, virtioSlots })
      const { output, warnings } = dtc('dtb', 'dtb', blob)
      assert.equal(warnings, '')
      assert.equal(deviceTreeText(output), deviceTreeText(blob))
    }
  }
})

test('dtc compiles the golden text to our tree', { skip }, () => {
  const { output } = dtc('dts', 'dtb', readFileSync(goldenPath))
  assert.equal(deviceTreeText(output), deviceTreeText(deviceTree(twoHarts)))
})

test('without a RAM disk and a seed their properties are absent', () => {
  const text = deviceTreeText(deviceTree({ harts: 1, ramBytes: 2 ** 26, bootArguments: '', virtioSlots: 0 }))
  assert.doesNotMatch(text, /initrd|rng-seed|virtio_mmio|cpu@1/)
})

test('RAM above 4 GiB of address space fills both cells', () => {
  const text = deviceTreeText(deviceTree({ ...twoHarts, ramBytes: 3 * 2 ** 30 }))
  assert.match(text, /memory@80000000 \{\n.*\n\t\treg = <0x0 0x80000000 0x0 0xc0000000>;/)
})

test('a command line that no kernel could read is refused', () => {
  const boot = (bootArguments: string) => deviceTree({ ...twoHarts, bootArguments })
  assert.throws(
    () => boot('x'.repeat(1024)),
    new UserError('kernel command line: 1024 characters long, the kernel reads at most 1023'),
  )
  assert.throws(
    () => boot('root=/dev/vda\0'),
    new UserError('kernel command line: character 14 (code 0) is not printable ASCII'),
  )
  assert.throws(() => boot('naïve'), UserError)
  boot('x'.repeat(1023))
})

test('any tree survives being flattened and read by dtc', { skip }, () => {
  const value = fc.oneof(
    fc.constant(present),
    fc.array(fc.nat(), { minLength: 1, maxLength: 5 }).map((values) => cells(...values)),
    fc.maxSafeNat().map((wide) => wideCells(wide)),
    fc
      .array(fc.stringMatching(/^[a-z]{1,9}$/), { minLength: 1, maxLength: 3 })
      .map((texts) => strings(...texts)),
    fc.uint8Array({ minLength: 1, maxLength: 9 }),
  )
  const properties = fc.dictionary(fc.stringMatching(/^x[a-z]{1,6}$/), value, {
    maxKeys: 4,
    noNullPrototype: true,
  })
  const { tree } = fc.letrec((tie) => ({
    tree: fc.tuple(
      properties,
      fc.oneof({ maxDepth: 3 }, fc.constant([]), fc.array(tie('tree'), { maxLength: 3 })),
    ),
  }))
  type Tree = [Record<string, Uint8Array>, Tree[]]
  const build = ([values, children]: Tree, name: string): ReturnType<typeof node> =>
    node(
      name,
      values,
      children.map((child, index) => build(child, `node${index}`)),
    )
  fc.assert(
    fc.property(tree as fc.Arbitrary<Tree>, (shape) => {
      const blob = flattenDeviceTree(build(shape, ''))
      assert.equal(deviceTreeText(dtc('dtb', 'dtb', blob).output), deviceTreeText(blob))
    }),
    { numRuns: 30 },
  )
})
