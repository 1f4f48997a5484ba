/**
 * The promise of the whole: Debian with Redis, unmodified, whose host is killed again and again, and whose clients see
 * a pause and nothing else.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { ProtectedPair } from './protected/pair.ts'
import { describeRound, killPrimary, runRound } from './protected/rounds.ts'
import { systemImage } from './system_image.ts'

const ROUNDS = 5

const image = await systemImage()
const skip =
  'missing' in image ? image.missing : process.platform !== 'linux' && 'needs /proc to find its processes'

describe('a protected pair whose primaries are killed', { skip }, () => {
  let pair: ProtectedPair
  before(async () => {
    assert.ok(!('missing' in image))
    pair = await ProtectedPair.start(image)
    await pair.untilServing()
    await pair.untilProtected()
  })
  after(() => pair?.end())

  for (let round = 1; round <= ROUNDS; round++) {
    it(`loses no connection and no acknowledged write, round ${round}`, async (context) => {
      const report = await runRound(pair, round, [killPrimary, killPrimary])
      context.diagnostic(describeRound(report))
      assert.deepEqual(report.errors, [], pair.logs())
    })
  }
})
