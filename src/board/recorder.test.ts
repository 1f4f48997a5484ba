import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatenate } from '../base/bytes.ts'
import { Random } from '../base/prng.ts'
import { type Output, PORT } from './computer.ts'
import { joinStreams } from './recorder.ts'

/** Console bytes up to `bytes`, cut at random. */
function pieces(bytes: Uint8Array, random: Random): Output[] {
  const outputs: Output[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random.below(4096))
    outputs.push({ port: PORT.uart, ordinal: BigInt(end), bytes: bytes.subarray(at, end) })
    at = end
  }
  return outputs
}

test('a console that puts out much has outputs that fit into a message, wherever it was cut', () => {
  const random = new Random(1, 0)
  const bytes = random.bytes(300_000)
  const joined = joinStreams(pieces(bytes, random))
  assert.equal(Buffer.compare(concatenate(joined.map((output) => output.bytes)), bytes), 0)
  assert.ok(joined.every((output) => output.bytes.length <= 65_536))
  assert.equal(joined.at(-1)!.ordinal, 300_000n)
  assert.deepEqual(joinStreams(pieces(bytes, random)), joined)
  // A backup takes them off one by one, and joins again what is left.
  assert.deepEqual(joinStreams(joined.slice(1)), joined.slice(1))
})
