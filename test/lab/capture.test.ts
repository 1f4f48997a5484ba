import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lateFrames, parseCapture, type SeenFrame, SeenStreams } from './capture.ts'

/** A segment of the guest's, in a frame of at least 60 bytes. */
function frame(port: string, atMs: number, sequence: number, payload: string): SeenFrame {
  const bytes = new Uint8Array(Math.max(60, 54 + payload.length))
  const view = new DataView(bytes.buffer)
  view.setUint16(12, 0x0800)
  bytes[14] = 0x45
  view.setUint16(16, 40 + payload.length)
  bytes[23] = 6
  bytes.set([10, 77, 0, 2], 30)
  view.setUint16(34, 6379)
  view.setUint16(36, 40_000)
  view.setUint32(38, sequence)
  bytes[46] = 0x50
  bytes.set(Buffer.from(payload), 54)
  return { port, atMs, bytes }
}

test('what two copies repeat of each other is no contradiction, wherever the cuts are', () => {
  const streams = new SeenStreams()
  for (const seen of [
    frame('a', 1, 0xfffffffe, '+OK\r\n'),
    frame('b', 2, 0, 'K\r\n:1'),
    frame('b', 3, 5, '\r\n'),
  ])
    streams.add(seen)
  assert.deepEqual(streams.contradictions, [])
  assert.equal(streams.size, 9)
})

test('another byte at the same place is one', () => {
  const streams = new SeenStreams()
  streams.add(frame('a', 1, 10, ':12'))
  streams.add(frame('b', 2, 11, '13'))
  assert.match(streams.contradictions.join('\n'), /:40000 12: 50, and 51 from b/)
})

test('of what an old primary puts out late, what its successor never says, or says otherwise, is strange', () => {
  const frames = [
    frame('a', 1, 10, 'abc'),
    frame('b', 20, 13, 'def'),
    frame('a', 30, 12, 'cdX'),
    frame('a', 31, 16, 'gh'),
    frame('a', 32, 18, ''),
  ]
  assert.deepEqual(lateFrames(frames, 'a', 10), { frames: 3, strangeBytes: 3 })
  assert.deepEqual(lateFrames(frames, 'a', 0), { frames: 4, strangeBytes: 7 })
  assert.deepEqual(lateFrames(frames, 'b', 40), { frames: 0, strangeBytes: 0 })
})

test('a file of tcpdump is read in either byte order, up to the record that is cut off', () => {
  for (const isLittle of [true, false]) {
    const file = new Uint8Array(24 + 16 + 3 + 16 + 2)
    const view = new DataView(file.buffer)
    view.setUint32(0, 0xa1b2c3d4, isLittle)
    view.setUint32(24, 5, isLittle)
    view.setUint32(28, 7000, isLittle)
    view.setUint32(32, 3, isLittle)
    file.set([1, 2, 3], 40)
    view.setUint32(43 + 8, 9, isLittle)
    const expected = [{ port: 'a', atMs: 5007, bytes: Uint8Array.of(1, 2, 3) }]
    assert.deepEqual(parseCapture(file, 'a'), expected)
  }
  assert.deepEqual(parseCapture(new Uint8Array(5), 'a'), [])
  assert.throws(() => parseCapture(new Uint8Array(24), 'a'))
})
