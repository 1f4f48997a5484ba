/**
 * A protected pair whose disks fail: one that hangs, one that is full, on the primary's side and on the backup's. The other
 * copy carries on, clients lose nothing, and people are told.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { DiskFault } from '../src/host/disk_faults.ts'
import { Pair } from '../src/node/host/pair.ts'
import { PairControl } from '../src/node/host/pair_control.ts'
import { hasEnded, ProtectedPair } from './protected/pair.ts'
import { describeRound, type Fault, runRound } from './protected/rounds.ts'
import { systemImage } from './system_image.ts'

const LIMIT_MS = 3000

const image = await systemImage()
const skip =
  'missing' in image ? image.missing : process.platform !== 'linux' && 'needs /proc to find its processes'

/** From now on the disk of a copy is so; the process that comes after it has one that works. */
const diskFault =
  (who: 'primary' | 'backup', fault: DiskFault): Fault =>
  async (pair, status) => {
    const { host, pid } = status[who]!
    const control = await PairControl.open(Pair.open(join(pair.home, 'machines'), 'pair'))
    assert.deepEqual(await control.ask(host, 'diskFault', { fault }), {})
    const isGone = ({ hosts }: typeof status): boolean => hosts.every((each) => each.pid !== pid)
    const later = await pair.until(`without the ${who} whose disk ${fault}`, isGone)
    // What the status says of it is gone as soon as another copy joins; the log has it for good.
    const isAlone = later.backup === null && later.primary !== null
    if (isAlone && who === 'backup' && later.detail !== null)
      assert.match(`${later.detail}`, /the copy at . was lost: it yields: disk failed/)
    for (let ended = false; !ended; ) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      ended = hasEnded(pid)
    }
  }

describe('a protected pair whose disks fail', { skip }, () => {
  let pair: ProtectedPair
  let folder: string
  before(async () => {
    assert.ok(!('missing' in image))
    folder = mkdtempSync(join(tmpdir(), 'understudy-disks-'))
    const file = join(folder, 'machine.yaml')
    writeFileSync(file, `settings:\n  diskLimitMs: ${LIMIT_MS}\n`)
    pair = await ProtectedPair.start(image, ['--allow-faults', '--file', file])
    await pair.untilServing()
    await pair.untilProtected()
  })
  after(async () => {
    await pair?.end()
    rmSync(folder, { recursive: true, force: true })
  })

  const rounds: readonly (readonly [what: string, fault: Fault, said: RegExp])[] = [
    ["primary's disk hangs", diskFault('primary', 'hangs'), /the disk failed: .* has not ended for 3 s/],
    ["primary's disk is full", diskFault('primary', 'full'), /the disk failed: no room/],
    ["backup's disk is full", diskFault('backup', 'full'), /it yields: disk failed: no room/],
    ["backup's disk hangs", diskFault('backup', 'hangs'), /it yields: disk failed: .* has not ended for 3 s/],
    ["primary's disk fails", diskFault('primary', 'broken'), /the disk failed: .* EIO/],
  ]
  for (const [index, [what, fault, said]] of rounds.entries()) {
    it(`goes on for its clients when its ${what}`, async (context) => {
      const report = await runRound(pair, 201 + index, [fault])
      context.diagnostic(describeRound(report))
      assert.deepEqual(report.errors, [], pair.logs())
      assert.match(pair.log('a') + pair.log('b'), said)
    })
  }
})
