/**
 * A machine on two hosts that only share a network, and what may befall them: power, wires, the arbiter, and a host that
 * stands still. A client holds one TCP connection through all of it.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { EXIT_CODE } from '../src/cli/exit_codes.ts'
import { lateFrames, SeenStreams } from './lab/capture.ts'
import type { ClientReport } from './lab/client_program.ts'
import { HOSTS, type HostName, Lab, otherHost } from './lab/lab.ts'
import { lacksNamespaces } from './lab/namespaces.ts'
import { systemImage } from './system_image.ts'

/** Answers after which it is believed that the service goes on. */
const SERVED = 40
/** For so long a backup without an arbiter is watched, while it must not go live. */
const LOOKS = 20
const LOOK_MS = 100

async function reasonToSkip(): Promise<string | false> {
  const reason = lacksNamespaces()
  if (reason !== false) return reason
  return 'missing' in image ? image.missing : false
}

const image = await systemImage()
const skip = await reasonToSkip()

describe('a machine on two hosts', { skip }, () => {
  let lab: Lab
  let primary: HostName = 'a'
  let isIntact = true

  before(async () => {
    assert.ok('files' in image)
    lab = await Lab.build(image)
    await lab.start('a')
    await lab.untilPrimary('a')
    await lab.untilProtected('a')
    await lab.untilServed(SERVED)
  })
  after(async () => lab?.end())

  /** One after the other on one laboratory: what one has left in disorder, no other can be judged by. */
  function scenario(name: string, play: (context: TestContext) => Promise<void>): void {
    it(name, async (context) => {
      assert.ok(isIntact, 'an earlier scenario has failed')
      isIntact = false
      await lab.ask('pause')
      await play(context)
      isIntact = true
    })
  }

  async function tellOutage(context: TestContext): Promise<void> {
    const pauseMs = (await lab.ask('pause')) as number
    context.diagnostic(`the client waited ${Math.round(pauseMs)} ms at most`)
  }

  /** Waits until the backup has gone live and serves; returns since when it is known to be live. */
  async function takenOver(context: TestContext): Promise<number> {
    const successor = otherHost(primary)
    await lab.untilPrimary(successor)
    const sinceMs = Date.now()
    await lab.untilServed(SERVED)
    await tellOutage(context)
    return sinceMs
  }

  /** What the old primary has put out since its successor was live, the successor has put out as well. */
  function requireNothingStrange(context: TestContext, old: HostName, sinceMs: number): void {
    const late = lateFrames(lab.frames(), old, sinceMs)
    context.diagnostic(`${late.frames} frames came from ${old} after ${otherHost(old)} was live`)
    assert.equal(late.strangeBytes, 0, `${old} put out what ${otherHost(old)} does not know`)
  }

  /** A host's process is started anew, and the machine is protected again. */
  async function restore(host: HostName): Promise<void> {
    primary = otherHost(host)
    await lab.untilProtected(primary)
    await lab.untilServed(SERVED)
  }

  async function epoch(): Promise<number | null | undefined> {
    return (await lab.status(primary))?.epoch
  }

  scenario(
    'goes on as if nothing had happened when first one and then both lose the arbiter',
    async (context) => {
      const before = await epoch()
      for (const host of [primary, otherHost(primary)]) {
        lab.cutArbiter(host)
        await lab.untilServed(3 * SERVED)
        assert.equal(await epoch(), before)
      }
      for (const host of HOSTS) lab.healArbiter(host)
      await lab.untilServed(SERVED)
      assert.equal((await lab.untilProtected(primary)).epoch, before)
      for (const host of HOSTS) assert.ok(lab.isRunning(host))
      await tellOutage(context)
    },
  )

  scenario('goes on at the other host when the power of the primary fails', async (context) => {
    const old = primary
    await lab.powerOff(old)
    const sinceMs = await takenOver(context)
    requireNothingStrange(context, old, sinceMs)
    lab.powerOn(old)
    await restore(old)
  })

  scenario('goes on at exactly one host when the channel between them is cut', async (context) => {
    const before = (await epoch())!
    lab.cutChannel()
    const winner = await lab.until('one host goes on alone', async () => {
      for (const host of HOSTS) {
        const status = await lab.status(host)
        if (status?.role === 'primary' && status.epoch! > before) return host
      }
      return undefined
    })
    const sinceMs = Date.now()
    const loser = otherHost(winner)
    assert.equal(await lab.ended(loser), EXIT_CODE.halted)
    await lab.untilServed(SERVED)
    await tellOutage(context)
    context.diagnostic(`${winner} went on, ${primary} had been the primary`)
    requireNothingStrange(context, loser, sinceMs)
    lab.healChannel()
    await restore(loser)
  })

  scenario(
    'goes on at the other host when the primary stands still, which then says nothing new',
    async (context) => {
      const old = primary
      lab.signal(old, 'SIGSTOP')
      const sinceMs = await takenOver(context)
      lab.signal(old, 'SIGCONT')
      assert.equal(await lab.ended(old), EXIT_CODE.halted)
      await lab.untilServed(SERVED)
      requireNothingStrange(context, old, sinceMs)
      await restore(old)
    },
  )

  scenario(
    'waits for the arbiter when that is away as the primary dies, says so, and goes on when it is back',
    async (context) => {
      const old = primary
      const successor = otherHost(old)
      for (const host of HOSTS) lab.cutArbiter(host)
      lab.signal(old, 'SIGKILL')
      await lab.ended(old)
      const waits = async (): Promise<true | undefined> => {
        const status = await lab.status(successor)
        assert.notEqual(status?.role, 'primary')
        return status?.reason === 'arbiter unreachable' || undefined
      }
      await lab.until('the backup says that the arbiter is away', waits)
      for (let looks = 0; looks < LOOKS; looks++) {
        assert.ok(await waits())
        await setTimeout(LOOK_MS)
      }
      for (const host of HOSTS) lab.healArbiter(host)
      await takenOver(context)
      await restore(old)
    },
  )

  it('loses no connection and no answered write, and never says two things at one place', async () => {
    assert.ok(isIntact, 'an earlier scenario has failed')
    const report = (await lab.ask('finish')) as ClientReport
    const { operations, clockAnswers, ...faults } = report
    assert.deepEqual(faults, { connectionErrors: [], wrongAnswers: [], faults: [] })
    assert.ok(operations > SERVED && clockAnswers > SERVED)
    const streams = new SeenStreams()
    for (const frame of lab.frames()) streams.add(frame)
    assert.deepEqual(streams.contradictions, [])
    assert.ok(streams.size > operations)
  })
})
