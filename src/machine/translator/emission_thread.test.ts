/** What another thread does with orders, and what the machine does with what comes of them, however late. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import type { CompiledModule } from '../../wasm/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { emissionPartsOf, idleThread } from '../testing/emission_parts.ts'
import { DATA, Program } from '../testing/program.ts'
import type { EmissionParts, RegionOrder } from './emission.ts'
import {
  type BatchLimits,
  type EmissionAnswer,
  EmissionService,
  type EmissionThread,
} from './emission_thread.ts'
import { KeptRegions } from './kept_regions.ts'

const LIMITS: BatchLimits = { regions: 3, wasmBytes: 70_000 }
const LOOP = '1: addi a0, a0, 1; xor a1, a1, a0; bnez a0, 1b; ret'

/** A service for a machine whose first pages each begin with a loop of 14 bytes; where something that is not code is. */
class Bench {
  readonly answers: EmissionAnswer[] = []
  readonly service: EmissionService
  #orders = 0

  constructor(limits = LIMITS, kept?: KeptRegions) {
    const parts = partsOf(32 << 20, 20)
    this.service = new EmissionService({
      ...{ ...parts, limits, regions: 0, kept },
      compile: (wasm) => wasm as object as CompiledModule,
      send: (answer) => this.answers.push(answer),
    })
  }

  order(page: number, { inPage = 0, taken = 0 } = {}): number {
    const order: RegionOrder = {
      ...{ number: ++this.#orders, place: { page, inPage, virtualPage: BigInt(page * 4096) } },
      ...{ unless: 'inside', leavesOut: false, joins: [], replaced: [], jumps: new Map(), fetchBank: 0 },
    }
    this.service.order(order, taken)
    return order.number
  }
}

/** Of a machine with loops at the start of some pages. */
function partsOf(ramBytes: number, pages: number): EmissionParts {
  const { parts, ram } = emissionPartsOf(nodeEngine, ramBytes)
  for (let page = 0; page < pages; page++)
    ram.write(0x8000_0000 + page * 4096, assemble(LOOP, BigInt(page * 4096)).bytes)
  return parts
}

test('a thread that has to be started is ordered from by many steps, and one that is there at once', () => {
  /** After so many steps of a loop, how many orders there were. */
  const ordersAfter = (steps: bigint, isReady: boolean): number => {
    let orders = 0
    const thread: EmissionThread = { ...idleThread, isReady, order: () => void orders++ }
    const loop = 'li s1, 100000000; 1: addi a0, a0, 3; addi s1, s1, -1; bnez s1, 1b'
    const { machine } = new Program(nodeEngine, loop, { translation: 'hot', emission: () => thread })
    machine.run(steps)
    return orders
  }
  assert.ok(ordersAfter(2_000_000n, true) > 0)
  assert.equal(ordersAfter(20_000_000n, false), 0)
  assert.ok(ordersAfter(40_000_000n, false) > 0)
})

test('a module comes when it is full, with what has come of all orders until then', () => {
  const bench = new Bench()
  for (const page of [0, 1, 0, 2]) bench.order(page)
  assert.equal(bench.answers.length, 1)
  const { done, module } = bench.answers[0]!
  assert.deepEqual(
    done.map(({ number, wasmBytes }) => [number, wasmBytes === undefined ? 'served' : wasmBytes > 100]),
    [
      [1, true],
      [2, true],
      [3, 'served'],
      [4, true],
    ],
  )
  assert.deepEqual(
    module?.regions.map(({ order, source: { page } }) => [order, page]),
    [
      [1, 0],
      [2, 1],
      [4, 2],
    ],
  )
})

test('what is wanted comes before its module is full, and nothing where there is nothing', () => {
  const bench = new Bench()
  bench.service.finish()
  assert.equal(bench.answers.length, 0)
  bench.order(0)
  bench.service.finish()
  bench.service.finish()
  assert.equal(bench.answers.length, 1)
  bench.order(0, { inPage: 2048 })
  bench.service.finish()
  assert.deepEqual(bench.answers[1], { done: [{ number: 2, wasmBytes: 0 }], module: undefined })
})

test('what has been sent serves until it is taken', () => {
  const bench = new Bench({ ...LIMITS, regions: 1 })
  bench.order(0)
  bench.order(0)
  bench.order(0, { inPage: 4 })
  bench.order(3)
  bench.order(0, { taken: 1 })
  bench.service.finish()
  const bytes = bench.answers.flatMap(({ done }) => done).map(({ wasmBytes }) => wasmBytes !== undefined)
  assert.deepEqual(bytes, [true, false, false, true, true])
})

test('what is kept comes as it was emitted, for another page, with all that was known of it', () => {
  const kept = new KeptRegions()
  const bench = new Bench(LIMITS, kept)
  bench.order(0)
  bench.service.finish()
  const [emitted] = bench.answers[0]!.module!.regions
  for (const [, { regions }] of kept.pages())
    for (const [entry, region] of regions) regions.set(entry, { ...region, leftOut: [4, 40] })
  const other = new Bench(LIMITS, kept)
  other.service.meet(3, 0)
  other.service.meet(3, 0)
  other.service.finish()
  assert.equal(other.answers.length, 1)
  const { done, module } = other.answers[0]!
  assert.deepEqual([done, module!.regions.length], [[], 1])
  const source = { ...emitted!.source, page: 3, leftOut: new Set([4, 40]) }
  assert.deepEqual(module!.regions[0], { ...emitted, source, order: undefined, virtualPage: undefined })
})

test('names of regions are never the same', () => {
  const bench = new Bench()
  for (let page = 0; page < 20; page++) bench.order(page)
  bench.service.finish()
  const names = bench.answers.flatMap(({ module }) => module!.regions.map(({ name }) => name))
  assert.equal(names.length, 20)
  assert.equal(new Set(names).size, 20)
})

test('a program that changes its code while that is emitted does the same', () => {
  for (const piece of [97n, 1009n]) {
    const both = new BothWays(
      nodeEngine,
      `li s1, 4000; la s2, there; lw s5, 0(s2); li s6, 0x100000; li s3, ${DATA}
    next: andi t0, s1, 511; bnez t0, there; add s5, s5, s6; sw s5, 0(s2)
    there: addi a0, a0, 0
      ld t1, 0(s3); add t1, t1, a0; sd t1, 0(s3)
      addi s1, s1, -1; bnez s1, next`,
      { translation: 'late' },
    ).finish(piece)
    assert.ok(both.counts.regions > 2 && both.counts.dropped > 0)
  }
})

test('nothing comes of what was ordered before a state was loaded', () => {
  const both = new BothWays(nodeEngine, `li s1, 3000; next: addi a0, a0, 3; addi s1, s1, -1; bnez s1, next`, {
    translation: 'late',
  })
  for (let i = 1; i < 20; i++) {
    both.run(BigInt(i * 40))
    both.each(({ machine, hart }) => {
      machine.loadState(machine.saveState())
      hart.setX(10, BigInt(i))
    })
  }
  both.finish(997n)
  assert.ok(both.counts.regions > 0)
})
