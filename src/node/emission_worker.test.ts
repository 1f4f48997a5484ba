/** The worker itself, with a machine that never returns to the event loop. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodeEngine } from '../host/engine.ts'
import { assemble } from '../isa/assemble.ts'
import { Machine } from '../machine/machine.ts'
import type { RegionOrder } from '../machine/translator/emission.ts'
import type { EmissionThread } from '../machine/translator/emission_thread.ts'
import { emissionWorker, KeepingEmission } from './emission_worker.ts'

const RAM_BASE = 0x8000_0000
const DEADLINE_MS = 60_000
const ORDERS = 80
const BUSY_REST_MS = 20

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

describe('what is kept', () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-kept-'))
  after(() => rmSync(directory, { recursive: true }))
  const loop = 'next: xor a1, a1, a0; addi a0, a0, 1; j next'
  let first: Machine

  it('is what a machine has translated', async () => {
    const emission = new KeepingEmission(directory)
    first = machineWith(loop, emission.start)
    runUntil(first, () => first.translatorCounts!.regions > 0)
    assert.equal(first.translatorCounts!.kept, 0)
    await emission.close()
    assert.equal(readdirSync(directory).length, 1)
  })

  it('comes without being asked for', async () => {
    const emission = new KeepingEmission(directory)
    const { thread, ram } = threadAlone(0, emission.start)
    ram.write(RAM_BASE, first.ram.read(RAM_BASE, 4096))
    thread.meet([0])
    for (let tries = 0; !thread.hasAnswer && tries < 100; tries++) await sleep(100)
    assert.ok(thread.take()!.module!.regions.length > 0)
    assert.ok(!thread.hasAnswer)
    await emission.close()
  })

  it('comes to the next machine', async () => {
    const emission = new KeepingEmission(directory)
    const machine = machineWith(loop, emission.start)
    for (let tries = 0; machine.translatorCounts!.kept === 0 && tries < 100; tries++) {
      // A few steps, of which nothing becomes hot, until the worker is there.
      machine.run(machine.position + 1000n)
      await sleep(20)
    }
    assert.ok(machine.translatorCounts!.kept > 0)
    await emission.close()
    await emission.close()
  })

  it('is written by a worker that ends since it has nothing to do, and found by the next, which many pages start', async () => {
    const rested = mkdtempSync(join(directory, 'rested-'))
    const { thread, order, ram } = threadAlone(0, new KeepingEmission(rested, 50).start)
    thread.order(order)
    for (let tries = 0; readdirSync(rested).length === 0 && tries < 100; tries++) await sleep(100)
    assert.equal(readdirSync(rested).length, 1)
    // It ends as soon as it has written.
    await sleep(500)
    assert.equal(thread.take()!.done.length, 1)
    // The same code in another page.
    ram.write(RAM_BASE + 5 * 4096, ram.read(RAM_BASE, 4096))
    thread.meet([5])
    await sleep(300)
    assert.ok(!thread.hasAnswer, 'a worker for one page')
    thread.meet(Array.from({ length: 70 }, (_, i) => 100 + i))
    for (let tries = 0; !thread.hasAnswer && tries < 100; tries++) await sleep(100)
    assert.deepEqual(
      thread.take()!.module!.regions.map(({ order, source: { page } }) => [order, page]),
      [[undefined, 5]],
    )
  })

  it('loses no order while it is written, whenever workers end', async () => {
    const busy = mkdtempSync(join(directory, 'busy-'))
    const { thread, order, ram } = threadAlone(0, new KeepingEmission(busy, BUSY_REST_MS).start)
    const answered = new Set<number>()
    const take = (): void => {
      for (let answer = thread.take(); answer !== undefined; answer = thread.take())
        for (const { number } of answer.done) answered.add(number)
    }
    for (let number = 1; number <= ORDERS; number++) {
      const place = { ...order.place, page: number }
      ram.write(RAM_BASE + number * 4096, assemble(`addi a0, a0, ${number}; ret`, 0n).bytes)
      thread.order({ ...order, number, place })
      // Before a worker rests, while it writes, and after it has ended.
      await sleep(BUSY_REST_MS - 2 + (number % 16))
      take()
    }
    for (let tries = 0; answered.size < ORDERS && tries < 100; tries++) {
      thread.finish()
      await sleep(20)
      take()
    }
    assert.equal(answered.size, ORDERS)
    assert.ok(!thread.hasAnswer)
  })

  it('is nothing, and no file, if nothing is translated', async () => {
    const empty = mkdtempSync(join(directory, 'empty-'))
    const emission = new KeepingEmission(empty)
    await emission.close()
    machineWith('j .', emission.start)
    await emission.close()
    assert.deepEqual(readdirSync(empty), [])
  })
})
