/** The map of regions by itself: what is entered where, what falls with what, and what modules are counted for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assemble } from '../../isa/assemble.ts'
import type { EngineFunction } from '../../wasm/engine.ts'
import type { CoreExports } from '../core.ts'
import { HANDLER } from '../handlers.ts'
import { CODE_ENTRY_BYTES, CODE_SLOT_BYTES, layoutFor, PAGE_BYTES, REGION_ENTRY } from '../layout.ts'
import { Predecoder } from '../predecode.ts'
import {
  bytesIn,
  isKept,
  type NewRegion,
  type Region,
  RegionMap,
  type SourceBytes,
  type Span,
} from './region_map.ts'

const RAM_BYTES = 2 << 20
const PAGE = 7
const SLOT = 3
/** It is in the next slot, always. */
const OTHER_PAGE = 9

/** A function that a test tells from others. */
const functionNamed = (name: string): EngineFunction => Object.assign(() => 0, { named: name })

interface Wanted {
  readonly at?: number
  readonly end?: number
  readonly page?: number
  readonly entries?: readonly number[]
  readonly wasmBytes?: number
  readonly leftOut?: readonly number[]
  readonly replaced?: readonly Region[]
  /** Bytes 16 to 32 of another page are taken in. */
  readonly takesIn?: number
}

/** A map with page PAGE in slot SLOT, and the functions of the core's table by their places. */
class Bench {
  readonly layout = layoutFor(1, RAM_BYTES)
  readonly #tables = new DataView(new ArrayBuffer(this.layout.end))
  readonly ram = new Uint8Array(RAM_BYTES)
  readonly functions = new Map<number, string>()
  readonly map: RegionMap

  constructor(limits = { numbers: 100, wasmBytes: 1000 }) {
    const { layout, ram } = this
    const tables = this.#tables
    const set = (number: number, run: (EngineFunction & { named?: string }) | null): void => {
      if (run === null) this.functions.delete(number)
      else this.functions.set(number, run.named!)
    }
    const core = { regions: { set } } as unknown as CoreExports
    const predecoder = new Predecoder(layout, tables.buffer, ram.buffer)
    for (let page = 0; page < 16; page++)
      ram.set(assemble('addi a0, a0, 1\n'.repeat(PAGE_BYTES / 4), 0n).bytes, page * PAGE_BYTES)
    this.map = new RegionMap({ layout, core, predecoder, tables, ram, limits })
    this.setSlot(SLOT + 1)
    tables.setUint16(layout.pageCodeSlot + OTHER_PAGE * 2, SLOT + 2, true)
  }

  /** The page's slot and one, or 0 if it has none. */
  setSlot(slot: number): void {
    this.#tables.setUint16(this.layout.pageCodeSlot + PAGE * 2, slot, true)
    this.#tables.setUint32(this.layout.codeSlotPage + SLOT * 4, PAGE, true)
  }

  sleep(): void {
    this.map.sleep(PAGE)
    this.setSlot(0)
    const entries = this.layout.codeSlots + SLOT * CODE_SLOT_BYTES
    new Uint8Array(this.#tables.buffer, entries, CODE_SLOT_BYTES).fill(0)
    this.#tables.setUint32(this.layout.codeSlotRegions + SLOT * 4, 0, true)
  }

  wake(): number {
    this.setSlot(SLOT + 1)
    return this.map.wake(PAGE)
  }

  /** What is entered at an offset of the page; undefined if it is an instruction. */
  enteredAt(inPage: number): string | undefined {
    const entry = this.layout.codeSlots + SLOT * CODE_SLOT_BYTES + (inPage / 2) * CODE_ENTRY_BYTES
    if (this.#tables.getUint16(entry, true) !== HANDLER.region) return undefined
    return this.functions.get(this.#tables.getUint16(entry + REGION_ENTRY.functionIndex, true)) ?? 'nothing'
  }

  /** The number of the entry at a place. */
  numberAt(inPage: number): number {
    const entry = this.layout.codeSlots + SLOT * CODE_SLOT_BYTES + (inPage / 2) * CODE_ENTRY_BYTES
    return this.#tables.getUint32(entry + REGION_ENTRY.number, true)
  }

  /** How many regions the core thinks are in the page. */
  get regionsInSlot(): number {
    return this.#tables.getUint32(this.layout.codeSlotRegions + SLOT * 4, true)
  }

  region(name: string, wanted: Wanted = {}): NewRegion {
    const { at = 0, end = at + 16, page = PAGE, entries = [at], wasmBytes = 100, takesIn } = wanted
    const leftOut = new Set(wanted.leftOut)
    const source = {
      ...this.#bytesOf(page, [{ first: at, end }]),
      others: takesIn === undefined ? [] : [this.#bytesOf(takesIn, [{ first: 16, end: 32 }])],
      leftOut,
      wasmBytes,
    }
    return { source, run: functionNamed(name), entries, joins: [], replaced: wanted.replaced ?? [] }
  }

  #bytesOf(page: number, spans: readonly Span[]): SourceBytes {
    return { page, spans, bytes: bytesIn(this.ram, page, spans) }
  }

  /** Adds a module of one region; returns that. */
  add(name: string, wanted: Wanted = {}): Region {
    this.map.add([this.region(name, wanted)])
    return this.map.regionsWith({ page: wanted.page ?? PAGE, inPage: wanted.at ?? 0 }).at(-1)!
  }
}

const at = (inPage: number) => ({ page: PAGE, inPage })

test('a region is entered at each of its entries, and nowhere when a byte of it is stored to', () => {
  const bench = new Bench()
  bench.add('one', { at: 16, end: 48, entries: [16, 32] })
  assert.deepEqual(
    [16, 24, 32].map((place) => bench.enteredAt(place)),
    ['one', undefined, 'one'],
  )
  assert.ok(bench.map.isEntry(at(32)) && bench.map.isInside(at(24)) && !bench.map.isInside(at(48)))
  assert.equal(bench.map.drop(PAGE, 48, 8) + bench.map.drop(PAGE, 8, 8), 0)
  assert.equal(bench.regionsInSlot, 1)
  assert.equal(bench.map.drop(PAGE, 47, 1), 1)
  assert.deepEqual(
    [16, 32].map((place) => bench.enteredAt(place)),
    [undefined, undefined],
  )
  assert.equal(bench.regionsInSlot + bench.functions.size, 0)
})

test('what a region replaces is given up, whether it is entered or sleeps', () => {
  for (const sleeps of [false, true]) {
    const bench = new Bench()
    const [first, second] = [bench.add('first'), bench.add('second', { at: 32 })]
    if (sleeps) bench.sleep()
    bench.map.add([bench.region('both', { end: 64, replaced: [first, second] })])
    if (sleeps) assert.equal(bench.wake(), 1)
    assert.ok(!isKept(first) && !isKept(second))
    assert.deepEqual(
      [0, 32].map((place) => bench.enteredAt(place)),
      ['both', undefined],
    )
    assert.deepEqual([...bench.functions.values()], ['both'])
    assert.equal(bench.regionsInSlot, 1)
  }
})

test('a region that has fallen may be replaced, and one whose bytes have changed replaces nothing', () => {
  const bench = new Bench()
  const first = bench.add('first')
  const next = bench.region('next', { end: 64, replaced: [first] })
  bench.ram[PAGE * PAGE_BYTES + 60]! ^= 1
  bench.map.add([next])
  assert.ok(isKept(first))
  assert.equal(bench.enteredAt(0), 'first')
  bench.map.drop(PAGE, 0, 1)
  bench.map.add([bench.region('last', { replaced: [first] })])
  assert.equal(bench.enteredAt(0), 'last')
  assert.equal(bench.regionsInSlot, 1)
})

test('the regions that have left a place out are known while they can be entered', () => {
  const bench = new Bench()
  const first = bench.add('first', { leftOut: [64, 80] })
  const second = bench.add('second', { at: 32, leftOut: [64] })
  assert.deepEqual(bench.map.regionsWithout(at(64)), [first, second])
  assert.deepEqual(bench.map.regionsWithout(at(80)), [first])
  assert.deepEqual(bench.map.regionsWithout({ page: PAGE + 1, inPage: 64 }), [])
  bench.sleep()
  assert.deepEqual(bench.map.regionsWithout(at(64)), [])
  bench.wake()
  bench.map.drop(PAGE, 0, 1)
  assert.deepEqual(bench.map.regionsWithout(at(64)), [second])
})

test('a page that wakes has the regions whose bytes are what they were', () => {
  const bench = new Bench()
  bench.add('same')
  const changed = bench.add('changed', { at: 32 })
  bench.sleep()
  bench.ram[PAGE * PAGE_BYTES + 40]! ^= 1
  assert.equal(bench.wake(), 1)
  assert.ok(!isKept(changed))
  assert.deepEqual(
    [0, 32].map((place) => bench.enteredAt(place)),
    ['same', undefined],
  )
})

test('where two regions have an entry, the one takes the place of the other that falls', () => {
  const bench = new Bench()
  bench.add('first', { end: 64, entries: [0, 16] })
  bench.add('second', { at: 16, end: 32 })
  assert.equal(bench.enteredAt(16), 'first')
  bench.map.drop(PAGE, 60, 1)
  assert.deepEqual(
    [0, 16].map((place) => bench.enteredAt(place)),
    [undefined, 'second'],
  )
})

test('a module counts whole until its last region has fallen', () => {
  const bench = new Bench()
  bench.map.add([
    bench.region('first', { wasmBytes: 300 }),
    bench.region('second', { at: 32, wasmBytes: 300 }),
  ])
  bench.add('third', { at: 64, wasmBytes: 300 })
  bench.map.drop(PAGE, 0, 1)
  // 600, 300 and 300 are too much: the oldest module goes, of which one region was left.
  bench.add('fourth', { at: 96, wasmBytes: 300 })
  assert.equal(bench.map.evicted, 1)
  assert.deepEqual([...bench.functions.values()].sort(), ['fourth', 'third'])
  bench.add('fifth', { at: 128, wasmBytes: 400 })
  assert.equal(bench.map.evicted, 1, 'there is room for just that')
  bench.map.drop(PAGE, 64, 1)
  bench.add('sixth', { at: 160, wasmBytes: 300 })
  assert.equal(bench.map.evicted, 1, 'what has fallen leaves room')
  bench.add('seventh', { at: 192, wasmBytes: 1 })
  assert.deepEqual([...bench.functions.values()].sort(), ['fifth', 'seventh', 'sixth'])
})

test('what is replaced leaves room for what replaces it, and so does what all forget', () => {
  const bench = new Bench()
  const old = bench.add('old', { wasmBytes: 600 })
  bench.add('other', { at: 32, wasmBytes: 400 })
  bench.map.add([bench.region('new', { wasmBytes: 600, replaced: [old] })])
  assert.equal(bench.map.evicted, 0)
  bench.map.forgetAll()
  assert.equal(bench.functions.size, 0)
  bench.add('all', { wasmBytes: 1000 })
  assert.equal(bench.map.evicted, 0)
})

test('numbers that are given back are taken again, and the oldest regions give theirs up', () => {
  const bench = new Bench({ numbers: 4, wasmBytes: 1000 })
  bench.add('first', { entries: [0, 4] })
  bench.add('second', { at: 32, entries: [32, 36] })
  bench.map.drop(PAGE, 0, 1)
  bench.add('third', { at: 64, entries: [64, 68] })
  assert.equal(bench.map.evicted, 0)
  bench.add('fourth', { at: 96 })
  assert.equal(bench.map.evicted, 1)
  assert.deepEqual([...bench.functions.values()].sort(), ['fourth', 'third'])
  assert.ok(Math.max(...bench.functions.keys()) < 2)
  const numbers = [64, 68, 96].map((place) => bench.numberAt(place))
  assert.ok(new Set(numbers).size === 3 && Math.max(...numbers) < 4, `${numbers}`)
})

test('a module of nothing that is as it was counts nothing', () => {
  const bench = new Bench()
  const changed = bench.region('changed', { wasmBytes: 900 })
  bench.ram[PAGE * PAGE_BYTES]! ^= 1
  bench.map.add([changed])
  bench.add('first', { at: 32, wasmBytes: 500 })
  bench.add('second', { at: 64, wasmBytes: 500 })
  assert.equal(bench.map.evicted, 0)
  assert.equal(bench.functions.size, 2)
})

test('a region falls with a byte that it has taken in from another page, wherever its own page is', () => {
  for (const sleeps of [false, true]) {
    const bench = new Bench()
    const region = bench.add('one', { page: OTHER_PAGE, takesIn: PAGE })
    assert.equal(bench.regionsInSlot, 1, 'the core tells of stores to the page')
    if (sleeps) bench.map.sleep(OTHER_PAGE)
    assert.equal(bench.map.drop(PAGE, 0, 16) + bench.map.drop(PAGE, 32, 8), 0)
    assert.ok(isKept(region))
    assert.equal(bench.map.drop(PAGE, 30, 4), 1)
    assert.ok(!isKept(region))
    assert.equal(bench.regionsInSlot + bench.functions.size, 0)
  }
})

test('what is taken in is compared when its page is decoded again', () => {
  for (const changes of [false, true]) {
    const bench = new Bench()
    const region = bench.add('one', { page: OTHER_PAGE, takesIn: PAGE })
    bench.sleep()
    assert.ok(isKept(region))
    bench.ram[PAGE * PAGE_BYTES + 12] = 1
    if (changes) bench.ram[PAGE * PAGE_BYTES + 20]! ^= 1
    bench.wake()
    assert.equal(isKept(region), !changes)
    assert.equal(bench.regionsInSlot, changes ? 0 : 1)
  }
})

test('a region is not added when what it has taken in has changed since', () => {
  const bench = new Bench()
  const region = bench.region('one', { page: OTHER_PAGE, takesIn: PAGE })
  bench.ram[PAGE * PAGE_BYTES + 20]! ^= 1
  bench.map.add([region])
  assert.equal(bench.regionsInSlot + bench.functions.size, 0)
})

test('a region that takes in what is in its own page counts once for each, and falls once', () => {
  const bench = new Bench()
  bench.add('one', { at: 64, takesIn: PAGE })
  assert.equal(bench.regionsInSlot, 2)
  bench.map.forgetAll()
  bench.add('two', { at: 64, takesIn: PAGE })
  assert.equal(bench.map.drop(PAGE, 20, 48), 1)
  assert.equal(bench.regionsInSlot + bench.functions.size, 0)
})
