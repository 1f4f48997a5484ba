/** The worker itself, with a machine that never returns to the event loop. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodeEngine } from '../host/engine.ts'
import { assemble } from '../isa/assemble.ts'
import { Machine } from '../machine/machine.ts'
import type { RegionOrder } from '../machine/translator/emission.ts'
import type { EmissionThread } from '../machine/translator/emission_thread.ts'
import { emissionWorker, KeepingEmission } from './emission_worker.ts'

const RAM_BASE = 0x8000_0000
const DEADLINE_MS = 60_000

function machineWith(source: string, emission = emissionWorker): Machine {
  const machine = new Machine({
    ...{ engine: nodeEngine, harts: 1, ramBytes: 2 << 20 },
    ...{ translation: 'hot', emission },
  })
  machine.ram.write(RAM_BASE, assemble(source, BigInt(RAM_BASE)).bytes)
  return machine
}

const threads = (): number => readdirSync('/proc/self/task').length

/** Runs until something holds, for so long at most. */
function runUntil(machine: Machine, holds: () => boolean): void {
  const deadline = Date.now() + DEADLINE_MS
  while (!holds()) {
    assert.ok(Date.now() < deadline, 'nothing came from the worker')
    machine.run(machine.position + 1_000_000n)
  }
}

/** The worker of a machine that is never run, and an order for it. */
function threadAlone(
  page: number,
  start = emissionWorker,
): { readonly thread: EmissionThread; readonly order: RegionOrder; readonly ram: Machine['ram'] } {
  let thread: EmissionThread | undefined
  const { ram } = new Machine({
    ...{ engine: nodeEngine, harts: 1, ramBytes: 2 << 20, translation: 'hot' },
    emission: (parts, limits) => {
      thread = start(parts, limits)
      return thread
    },
  })
  ram.write(RAM_BASE, assemble('addi a0, a0, 1; ret', BigInt(RAM_BASE)).bytes)
  const place = { page, inPage: 0, virtualPage: 0n }
  const rest = { leavesOut: false, joins: [], replaced: [], jumps: new Map(), fetchBank: 0 }
  return { ram, thread: thread!, order: { number: 1, place, unless: 'inside', ...rest } }
}

// The first of all, as it counts threads: those of other tests end as well.
test('a worker ends though nobody takes what it has to say, which can still be taken', async () => {
  const { thread, order } = threadAlone(0)
  const before = threads()
  assert.equal(thread.take(), undefined)
  thread.order(order)
  assert.ok(threads() > before)
  for (let tries = 0; threads() > before && tries < 100; tries++) await sleep(100)
  assert.equal(threads(), before, 'it holds the memories of its machine')
  assert.equal(thread.take()?.module?.regions.length, 1)
  assert.equal(thread.take(), undefined)
})

test('a hot loop is translated by the worker after a reset, and again after another', () => {
  const machine = machineWith('li a1, 5; next: addi a0, a0, 1; xor a1, a1, a0; j next')
  machine.reset(BigInt(RAM_BASE))
  for (const regions of [1, 2]) {
    runUntil(machine, () => machine.translatorCounts!.regions >= regions)
    const before = machine.translatorCounts!.steps
    machine.run(machine.position + 10_000_000n)
    assert.ok(machine.translatorCounts!.steps - before > 5_000_000, 'most of it is translated')
    machine.reset(BigInt(RAM_BASE))
  }
})

test('a worker that has had nothing to do ends, and the next order has another one', async () => {
  const machine = machineWith(
    `li a2, 400000000; one: addi a0, a0, 1; bltu a0, a2, one; j two
    .align 12
    two: addi a1, a1, 3; xor a3, a1, a0; j two`,
  )
  runUntil(machine, () => machine.translatorCounts!.regions === 1)
  const before = threads()
  for (let tries = 0; threads() >= before && tries < 100; tries++) await sleep(100)
  assert.ok(threads() < before, 'the worker has not ended')
  machine.run(500_000_000n)
  runUntil(machine, () => machine.translatorCounts!.regions === 2)
})

test('what fails in the worker is thrown where answers are taken', () => {
  const machine = machineWith('next: addi a0, a0, 1; j next')
  const { thread, order } = threadAlone(1_000_000)
  thread.order(order)
  assert.throws(() => runUntil(machine, () => thread.take() !== undefined), RangeError)
})

test('the next machine has what one has translated, without an order, and so has the next worker', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-kept-'))
  const loops = `li a2, 100000; one: addi a0, a0, 1; bltu a0, a2, one
    li a3, 60000000; two: addi a0, a0, 3; bltu a0, a3, two; three: xor a1, a1, a0; addi a4, a4, 1; j three`
  try {
    const emission = new KeepingEmission(directory)
    const first = machineWith(loops, emission.start)
    runUntil(first, () => first.translatorCounts!.regions >= 2)
    assert.equal(first.translatorCounts!.kept, 0)
    await emission.close()
    assert.equal(readdirSync(directory).length, 1)

    const alone = new KeepingEmission(directory)
    const { thread, ram } = threadAlone(0, alone.start)
    ram.write(RAM_BASE, first.ram.read(RAM_BASE, 4096))
    thread.meet([0])
    for (let tries = 0; !thread.hasAnswer && tries < 100; tries++) await sleep(100)
    assert.ok(thread.take()!.module!.regions.length >= 2, 'without being asked')
    assert.ok(!thread.hasAnswer)
    await alone.close()

    const next = new KeepingEmission(directory)
    const second = machineWith(loops, next.start)
    runUntil(second, () => second.translatorCounts!.kept >= 2)
    await next.close()
    await next.close()
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('a machine that has translated nothing keeps nothing', async () => {
  const emission = new KeepingEmission('/nowhere')
  await emission.close()
  const machine = machineWith('j .', emission.start)
  await emission.close()
  assert.equal(machine.position, 0n)
})
