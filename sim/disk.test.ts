import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../src/base/prng.ts'
import { BLOCK_BYTES, Disk, type DiskResult } from './disk.ts'
import type { DiskRequest } from './machine_ports.ts'
import { World } from './world.ts'

const BYTES = 8 * BLOCK_BYTES

function bench(seed = 1) {
  const world = new World(seed, [], undefined)
  const shape = { requestMs: 1, jitterMs: 3, flushMs: 1 }
  const disk = new Disk(world, new Random(seed), shape, new Uint8Array(BYTES))
  const results: (DiskResult & { readonly number: number })[] = []
  let number = 0
  const submit = (
    kind: DiskRequest['kind'],
    offset = 0,
    bytes = new Uint8Array(0),
    length = bytes.length,
  ) => {
    const request = { kind, number: ++number, offset, length, bytes }
    disk.submit(request, (result) => results.push({ number: request.number, ...result }))
  }
  const run = (untilMs = 1e6) => {
    while (world.step(untilMs));
  }
  return { world, disk, results, submit, run }
}

const filled = (value: number, blocks = 2) => new Uint8Array(blocks * BLOCK_BYTES).fill(value)

test('a flush ends after the writes before it, and requests that overlap end in order', () => {
  for (let seed = 1; seed < 50; seed++) {
    const { results, submit, run } = bench(seed)
    submit('write', 0, filled(1))
    submit('write', BLOCK_BYTES, filled(2))
    submit('read', 0, new Uint8Array(0), BLOCK_BYTES * 2)
    submit('flush')
    run()
    const order = results.map(({ number }) => number)
    assert.ok(order.indexOf(1) < order.indexOf(2) && order.indexOf(2) < order.indexOf(4), order.join())
    const read = results.find(({ number }) => number === 3)!
    assert.deepEqual(read.data, Uint8Array.of(...filled(1, 1), ...filled(2, 1)))
  }
})

test('what was flushed survives a power cut; what was not is lost in any part, block by block', () => {
  const outcomes = new Set<string>()
  for (let seed = 1; seed < 100; seed++) {
    const { disk, submit, run } = bench(seed)
    submit('write', 0, filled(1))
    submit('flush')
    run()
    submit('write', 0, filled(2))
    run()
    disk.onPowerLost()
    const content = disk.content()
    outcomes.add(`${content[0]}${content[BLOCK_BYTES]}`)
    for (let at = 0; at < BLOCK_BYTES; at++) assert.equal(content[at], content[0], 'a block is whole')
  }
  assert.deepEqual([...outcomes].sort(), ['11', '12', '21', '22'])
})

test('a process that dies hears of nothing any more, and leaves what it had written', () => {
  const { disk, results, submit, run } = bench()
  submit('write', 0, filled(1))
  run()
  submit('read', 0, new Uint8Array(0), 1)
  disk.onProcessLost()
  run()
  assert.deepEqual(
    results.map(({ number }) => number),
    [1],
  )
  assert.equal(disk.content()[0], 1)
})

test('while another content is being installed the disk has no generation', () => {
  const { disk } = bench()
  disk.format('old')
  disk.beginInstall(filled(3, 8))
  assert.equal(disk.generation, undefined)
  disk.finishInstall(filled(3, 8), 'new')
  disk.onPowerLost()
  assert.equal(disk.generation, 'new')
  assert.deepEqual(disk.content(), filled(3, 8))
})

test('a failing disk fails requests and changes nothing', () => {
  const { disk, results, submit, run } = bench()
  disk.failing = 1
  submit('write', 0, filled(1))
  run()
  assert.equal(results[0]?.status, 'error')
  assert.equal(disk.content()[0], 0)
})
