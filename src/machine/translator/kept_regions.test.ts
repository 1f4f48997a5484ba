/** What is kept of one machine's translations and found by another. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import type { CompiledModule } from '../../wasm/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, Program } from '../testing/program.ts'
import {
  type EmissionAnswer,
  EmissionService,
  type EmissionThread,
  type EmissionThreadStarter,
} from './emission_thread.ts'
import { type KeptBytes, type KeptRegion, KeptRegionFinder, KeptRegions } from './kept_regions.ts'

const bytesOf = (hash: bigint): KeptBytes => ({ hash, spans: [], bytes: new Uint8Array() })

function region(hash: bigint, entry: number, others: readonly bigint[] = [], wasmBytes = 1): KeptRegion {
  return {
    ...{ body: { localTypes: [], code: 'x'.repeat(wasmBytes) }, source: bytesOf(hash) },
    ...{ others: others.map(bytesOf), leftOut: [], entries: [entry], joins: [], instructions: 1 },
  }
}

function keptOf(...regions: readonly KeptRegion[]): KeptRegions {
  const kept = new KeptRegions()
  for (const one of regions) kept.keep(one, () => false)
  return kept
}

/** What a finder finds: entries of regions, with the pages of what they have taken in. */
const meet = (finder: KeptRegionFinder, page: number, hash: bigint) =>
  finder.meet(page, hash).map(({ region, page, others }) => [page, region.entries[0], ...others])

test('a region is found for every page that has the bytes of its page, once while it has them', () => {
  const finder = new KeptRegionFinder(keptOf(region(5n, 8), region(5n, 16), region(6n, 24)))
  assert.deepEqual(meet(finder, 100, 5n), [
    [100, 8],
    [100, 16],
  ])
  assert.deepEqual(meet(finder, 100, 5n), [])
  assert.equal(meet(finder, 101, 5n).length, 2)
  assert.deepEqual(meet(finder, 100, 7n), [])
  assert.deepEqual(meet(finder, 100, 6n), [[100, 24]])
  assert.equal(meet(finder, 100, 5n).length, 2)
})

test('a region that has taken something in is found when all of its pages have been met', () => {
  const finder = new KeptRegionFinder(keptOf(region(5n, 8, [6n, 7n, 6n, 5n])))
  assert.deepEqual(meet(finder, 10, 5n), [])
  assert.deepEqual(meet(finder, 12, 7n), [])
  assert.deepEqual(meet(finder, 11, 6n), [[10, 8, 11, 12, 11, 10]])
  assert.deepEqual(meet(finder, 20, 5n), [[20, 8, 11, 12, 11, 20]])
  assert.deepEqual(meet(finder, 21, 6n), [], 'it was found before')
})

test('a region takes the place of what it replaces, and of what begins where it does', () => {
  const kept = keptOf(region(5n, 8), region(5n, 16), region(5n, 24), region(6n, 16))
  const entriesOf = (hash: bigint) => [...kept.of(hash)].map(({ entries }) => entries[0])
  kept.keep(region(5n, 8), (inPage) => inPage === 16)
  assert.deepEqual(entriesOf(5n), [8, 24])
  assert.deepEqual(entriesOf(6n), [16])
})

test('a page that changes to and fro waits once', () => {
  const finder = new KeptRegionFinder(keptOf(region(5n, 8, [6n])))
  for (let i = 0; i < 10; i++) for (const hash of [5n, 4n]) assert.deepEqual(meet(finder, 10, hash), [])
  meet(finder, 10, 5n)
  assert.deepEqual(meet(finder, 11, 6n), [[10, 8, 11]])
  meet(finder, 11, 7n)
  assert.deepEqual(meet(finder, 12, 5n), [], 'what it had taken in is nowhere any more')
})

test('a page that was noted is found by others, and has nothing itself', () => {
  const finder = new KeptRegionFinder(keptOf(region(5n, 8, [6n]), region(6n, 4)))
  finder.note(11, 6n)
  assert.deepEqual(meet(finder, 11, 6n), [])
  assert.deepEqual(meet(finder, 10, 5n), [[10, 8, 11]])
})

test('what has been of no use for long is not kept on', () => {
  const earlier = keptOf(region(1n, 0))
  const keptAt = (machine: number): number => new KeptRegions(earlier.pages(), machine).pages().length
  assert.deepEqual([keptAt(21), keptAt(22)], [1, 0])
})

test('what was used longest ago gives way when there is too much', () => {
  const large = 5_000_000
  const kept = keptOf(region(1n, 0), region(2n, 0, [], large), region(3n, 0, [], large))
  kept.of(1n)
  kept.of(2n)
  const hashes = (): bigint[] => kept.pages().map(([hash]) => hash)
  kept.keep(region(4n, 0, [], large), () => false)
  assert.deepEqual(hashes(), [1n, 2n, 4n])
  for (let i = 0; i < 10; i++) kept.keep(region(4n, 0, [], large), () => false)
  assert.deepEqual(hashes(), [1n, 2n, 4n], 'what takes the place of something does not count twice')
  const next = new KeptRegions(kept.pages(), 2)
  next.keep(region(5n, 0, [], large), () => false)
  assert.deepEqual(
    next.pages().map(([hash]) => hash),
    [4n, 5n],
  )
})

/** A loop in a page of its own that calls a function of another one. */
const CALLER = 'mv s4, ra; 1: mv a0, s1; jalr s3; add a1, a1, a0; addi s1, s1, -1; bnez s1, 1b; jr s4'
const CALLEE = 'slli a0, a0, 1; addi a0, a0, 1; ret'

function put({ machine }: Program, address: number, source: string): void {
  const page = new Uint8Array(4096)
  page.set(assemble(source, BigInt(address)).bytes)
  machine.ram.write(address, page)
}

/** Calls the loop at one page with the function of another, each so many rounds, between which something happens to both. */
function calls(
  kept: KeptRegions,
  caller: number,
  callee: number,
  ...between: ((one: Program) => void)[]
): BothWays {
  const main = `li s6, ${between.length + 1}; li s2, ${caller}; li s3, ${callee}
    again: li s1, 3000; jalr s2; stop: addi s6, s6, -1; bnez s6, again`
  const both = new BothWays(nodeEngine, main, { translation: 'late', kept })
  both.each((program) => {
    put(program, caller, CALLER)
    put(program, callee, CALLEE)
  })
  for (const happens of between) {
    both.run(3000n * 7n)
    both.each(happens)
  }
  return both.finish(997n)
}

test('another machine finds what is kept, wherever its code is, and what is taken in', () => {
  const kept = new KeptRegions()
  const first = calls(kept, DATA + 0x1000, DATA + 0x2000)
  assert.ok(first.counts.regions > 0 && first.counts.takenIn > 0 && first.counts.kept === 0)
  const second = calls(kept, DATA + 0x7000, DATA + 0x4000)
  assert.ok(second.counts.kept > 0 && second.counts.takenIn > 0)
  assert.ok(second.counts.steps > first.counts.steps, 'it is translated sooner')
  const { unknownJumps } = second.translated.machine.statistics()
  assert.ok(unknownJumps < 100, `${unknownJumps} calls were not of what is taken in`)
})

test('of several functions that are taken in each is its own', () => {
  const kept = new KeptRegions()
  const main = (places: readonly number[]): string =>
    `${places.map((place, i) => `li s${i + 2}, ${place}`).join('; ')}; li s1, 3000; jalr s2`
  const caller = `mv s6, ra; 1: mv a0, s1; jalr s3; jalr s4; jalr s5; add a1, a1, a0
    addi s1, s1, -1; bnez s1, 1b; jr s6`
  for (const places of [
    [0x1000, 0x2000, 0x3000, 0x4000],
    [0x5000, 0x9000, 0x7000, 0x8000],
  ]) {
    const addresses = places.map((place) => DATA + place)
    const both = new BothWays(nodeEngine, main(addresses), { translation: 'late', kept })
    both.each((program) => {
      for (const [i, source] of [caller, CALLEE, 'xori a0, a0, 5; ret', 'addi a0, a0, 7; ret'].entries())
        put(program, addresses[i]!, source)
    })
    both.finish(997n)
    const { unknownJumps } = both.translated.machine.statistics()
    if (places[0] === 0x5000)
      assert.ok(both.counts.takenIn >= 3 && unknownJumps < 200, `${unknownJumps} calls`)
  }
})

test('what is found falls with its own bytes and with those of what it has taken in', () => {
  const kept = new KeptRegions()
  calls(kept, DATA + 0x1000, DATA + 0x2000)
  const both = calls(
    kept,
    ...([DATA + 0x5000, DATA + 0x6000] as const),
    (program) => put(program, DATA + 0x6000, 'slli a0, a0, 2; addi a0, a0, 1; ret'),
    (program) => put(program, DATA + 0x5000, CALLER.replace('a1, a1, a0', 'a1, a1, s1')),
  )
  assert.ok(both.counts.kept > 0 && both.counts.dropped > 0)
})

test('of a page with other bytes nothing is found', () => {
  const kept = new KeptRegions()
  calls(kept, DATA + 0x1000, DATA + 0x2000)
  const main = `li s2, ${DATA + 0x1000}; li s3, ${DATA + 0x2000}; li s1, 3000; jalr s2`
  const both = new BothWays(nodeEngine, main, { translation: 'late', kept })
  both.each((program) => {
    put(program, DATA + 0x1000, CALLER.replace('a1, a1, a0', 'a1, a1, a1'))
    put(program, DATA + 0x2000, CALLEE.replace('1; addi', '3; addi'))
  })
  both.finish(997n)
  assert.ok(both.counts.regions > 0)
  assert.equal(both.counts.kept, 0)
})

test('code that changes before what was found for it has come is executed as it is', () => {
  const kept = new KeptRegions()
  calls(kept, DATA + 0x1000, DATA + 0x2000)
  for (let slices = 1; slices < 30; slices++) {
    const [caller, callee] = [DATA + 0x3000, DATA + 0x4000]
    const both = new BothWays(nodeEngine, `li s2, ${caller}; li s3, ${callee}; li s1, 3000; jalr s2`, {
      ...{ translation: 'late', kept },
    })
    both.each((program) => {
      put(program, caller, CALLER)
      put(program, callee, CALLEE)
    })
    both.run(BigInt(slices * 97))
    both.each((program) =>
      slices % 2 === 0
        ? put(program, callee, 'slli a0, a0, 2; addi a0, a0, 1; ret')
        : put(program, caller, CALLER.replace('a1, a1, a0', 'a1, a1, s1')),
    )
    both.finish(97n)
  }
})

test('a region that is emitted meanwhile is not taken a second time', () => {
  const kept = new KeptRegions()
  const loop = `li s1, 40000; 1: addi a0, a0, 3; addi s1, s1, -1; bnez s1, 1b`
  const answers: EmissionAnswer[] = []
  let service: EmissionService | undefined
  const thread: EmissionThread = {
    isReady: true,
    order: (order) => service!.order(order, 0),
    meet() {},
    finish: () => service!.finish(),
    get hasAnswer() {
      return answers.length > 0
    },
    take: () => answers.shift(),
    cancel() {},
  }
  const emission: EmissionThreadStarter = (parts, limits) => {
    const compile = (wasm: Uint8Array<ArrayBuffer>) => wasm as object as CompiledModule
    const send = (answer: EmissionAnswer): void => void answers.push(answer)
    service = new EmissionService({ ...parts, limits, regions: 0, kept, compile, send })
    return thread
  }
  const { machine } = new Program(nodeEngine, loop, { translation: 'patient', emission })
  machine.run(20_000n)
  const { regions } = machine.translatorCounts!
  assert.ok(regions > 0)
  service!.meet(0, 0)
  service!.finish()
  assert.equal(answers.length, 1)
  machine.run(40_000n)
  assert.equal(answers.length, 0)
  assert.deepEqual([machine.translatorCounts!.regions, machine.translatorCounts!.kept], [regions, 0])
})
