import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../src/base/prng.ts'
import { Channel } from './channel.ts'
import { SiteLinks } from './site_links.ts'
import { World } from './world.ts'

function bench(pieceBytes: number, seed = 1) {
  const world = new World(seed, [], undefined)
  const shape = { latencyMs: 1, jitterMs: 5, bandwidth: 10, pieceBytes }
  const links = new SiteLinks(shape, new Random(seed))
  const heard = { a: [] as number[], b: [] as number[] }
  const ended: string[] = []
  const handler = (site: 'a' | 'b') => ({
    site,
    onBytes: (bytes: Uint8Array) => heard[site].push(...bytes),
    onEnd: () => ended.push(site),
  })
  let hasPower = true
  const channel = new Channel(world, links, [handler('a'), handler('b')], () => hasPower)
  const run = (untilMs = 1e6) => {
    while (world.step(untilMs));
  }
  const setPower = (value: boolean) => {
    hasPower = value
  }
  return { world, links, channel, heard, ended, run, setPower }
}

const message = (value: number, length = 40) => new Uint8Array(length).fill(value)

test('bytes arrive whole and in order, however small the pieces are', () => {
  for (const pieceBytes of [1, 7, 4096]) {
    const { channel, heard, run } = bench(pieceBytes)
    for (const value of [1, 2, 3]) channel.send(0, message(value), false)
    run()
    assert.deepEqual(heard.b, [...message(1), ...message(2), ...message(3)])
  }
})

test('an urgent message overtakes those that have not begun to leave, and cuts none in two', () => {
  const { channel, heard, run } = bench(16)
  for (const value of [1, 2, 3]) channel.send(0, message(value), false)
  channel.send(0, message(9), true)
  channel.send(0, message(8), true)
  run()
  assert.deepEqual(heard.b, [...message(1), ...message(9), ...message(8), ...message(2), ...message(3)])
})

test('what was sent before a close arrives before the end does', () => {
  const { channel, heard, ended, run } = bench(16)
  channel.send(0, message(1), false)
  channel.close(0)
  run()
  assert.deepEqual(heard.b, [...message(1)])
  assert.deepEqual(ended, ['b'])
  assert.equal(channel.isOver, true)
})

test('a cut leaves any beginning of what is on the way, and both sides hear of it', () => {
  const lengths = new Set<number>()
  for (let seed = 1; seed < 200; seed++) {
    const { world, channel, heard, ended, run } = bench(32, seed)
    channel.send(0, message(1), false)
    while (world.nowMs < 3 && world.step(3));
    channel.cut(new Random(seed))
    run()
    lengths.add(heard.b.length)
    assert.deepEqual(ended.sort(), ['a', 'b'])
  }
  assert.ok(lengths.size > 10, `lengths ${[...lengths]}`)
})

test('a partition delays, in one direction', () => {
  const { world, links, channel, heard, run } = bench(100)
  links.block('a', 'b')
  channel.send(0, message(1), false)
  channel.send(1, message(2), false)
  run(1000)
  assert.deepEqual([heard.a.length, heard.b.length], [40, 0])
  links.open('a', 'b')
  run(world.nowMs + 1000)
  assert.equal(heard.b.length, 40)
})

test('with the power of a host its end is gone without a word, until the other side sends and power is back', () => {
  const { channel, ended, run, setPower } = bench(100)
  setPower(false)
  channel.onPowerLoss(1)
  channel.send(0, message(1), false)
  run()
  assert.deepEqual(ended, [])
  setPower(true)
  channel.send(0, message(1), false)
  run()
  assert.deepEqual(ended, ['a'])
})

test('in the dark nothing arrives, and nobody hears of it', () => {
  const { channel, heard, ended, run } = bench(100)
  channel.darken(0)
  channel.send(0, message(1), false)
  channel.send(1, message(2), false)
  run()
  assert.deepEqual([heard.a.length, heard.b.length, ended], [40, 0, []])
})
