import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { STATISTICS, type Statistics } from '../../machine/machine.ts'
import type { TranslatedRegion } from '../../machine/translator/observer.ts'
import { guestProfile, type ProfileMeasurement } from './guest_profile.ts'
import { profileTable } from './profile_table.ts'
import { programSymbols, SymbolTable } from './symbol_table.ts'
import { TimeByTier } from './tiers.ts'

const MEMCPY = 0xffff_ffff_80a3_4f00n
const symbols = new SymbolTable([{ address: MEMCPY, name: 'memcpy' }], MEMCPY + 0x100n)

function regions(...list: readonly TranslatedRegion[]): Map<string, TranslatedRegion> {
  return new Map(list.map((region) => [region.name, region]))
}

const kernelRegion = { page: 0xc34, inPage: 0xf10, address: MEMCPY + 0x10n, instructions: 34 }
const userRegion = { page: 0x5000, inPage: 0, address: 0x7fff_1000n, instructions: 5 }

function measurement(): ProfileMeasurement {
  const time = new TimeByTier()
  const url = 'wasm://wasm/1'
  const caller = undefined
  time.add([
    { name: 'run', url, caller, ms: 400 },
    { name: 'region0', url, caller, ms: 100 },
    { name: 'region1', url, caller, ms: 300 },
    { name: 'region2', url, caller, ms: 200 },
  ])
  return {
    time,
    regions: regions(
      { name: 'region0', ...kernelRegion, instructions: 20 },
      { name: 'region1', ...kernelRegion },
      { name: 'region2', ...userRegion },
    ),
    interpreted: new Map([
      [MEMCPY, 1000],
      [MEMCPY + 4n, 2000],
      [0x7fff_2008n, 1000],
    ]),
    steps: 4_000_000_000,
    counters: {
      ...(Object.fromEntries(STATISTICS.map((field) => [field, 0])) as Statistics),
      regionEntries: 7,
    },
    translated: {
      ...{
        steps: 3_000_000_000,
        regions: 3,
        modules: 1,
        instructions: 59,
        takenIn: 0,
        wasmBytes: 4130,
        kept: 0,
      },
      ...{ dropped: 1, woken: 0, evicted: 0 },
    },
    ...{ work: { ms: 120, longestMs: 14 }, symbols, hasKernel: true },
  }
}

describe('a profile', () => {
  it('gives shares of the time and of the steps', () => {
    const { tiers, steps, seconds, translation } = guestProfile(measurement())
    assert.equal(seconds, 1)
    assert.deepEqual(tiers.translated, { seconds: 0.6, share: 0.6 })
    assert.deepEqual(tiers.interpreter, { seconds: 0.4, share: 0.4 })
    assert.deepEqual(steps, { total: 4e9, translated: 3e9, interpreted: 1e9 })
    assert.equal(translation?.longestMs, 14)
  })

  it('counts a region that was made anew as one, and names it', () => {
    const [first, second, ...more] = guestProfile(measurement()).regions
    assert.deepEqual(more, [])
    assert.deepEqual(first, {
      ...{ share: 0.4, seconds: 0.4, physical: '0x80c34f10', address: '0xffffffff80a34f10' },
      ...{ space: 'kernel', symbol: 'memcpy+0x10', instructions: 34, translations: 2 },
    })
    assert.equal(second?.space, 'user')
    assert.equal(second?.symbol, null)
  })

  it('sums what was interpreted by function, or by page where there is no name', () => {
    assert.deepEqual(guestProfile(measurement()).interpreted, [
      { share: 0.75, address: '0xffffffff80a34f00', space: 'kernel', symbol: 'memcpy' },
      { share: 0.25, address: '0x7fff2000', space: 'user', symbol: null },
    ])
  })

  it('is complete without translation, and without a sample', () => {
    const {
      translation,
      tiers,
      regions: hot,
    } = guestProfile({
      ...measurement(),
      ...{ time: new TimeByTier(), translated: undefined },
    })
    assert.equal(translation, null)
    assert.equal(tiers.idle.share, 0)
    assert.deepEqual(hot, [])
  })

  it('has a table of the hottest', () => {
    const lines = profileTable(guestProfile(measurement())).split('\n')
    assert.deepEqual(lines, [
      'time   translated 60.0%, interpreter 40.0%',
      'steps  4.0 G in 1.0 s, 75.0% of them translated',
      'code   3 regions of 59 instructions, 1 dropped, 0 evicted; made in 0.1 s, 14 ms at most; entered 7 times from the interpreter',
      'rest   interpreted in memcpy 75.0%, user 0x7fff2000 25.0%',
      ' 40.0%  0x80c34f10  0xffffffff80a34f10    34 instructions  kernel memcpy+0x10',
      ' 20.0%  0x85000000  0x7fff1000             5 instructions  user',
      '',
    ])
  })
})

describe('symbols', () => {
  it('name what is behind them, up to the end of the code', () => {
    assert.equal(symbols.at(MEMCPY), 'memcpy')
    assert.equal(symbols.at(MEMCPY + 0xffn), 'memcpy+0xff')
    assert.equal(symbols.at(MEMCPY + 0x100n), undefined)
    assert.equal(symbols.at(MEMCPY - 1n), undefined)
  })

  it('of a program are its functions, or all places in its code', () => {
    const symbol = (name: string, address: bigint, isFunction: boolean) => ({
      ...{ name, address, isFunction, isGlobal: true },
    })
    const code = [{ name: '.text', address: 0x8000_0000n, bytes: new Uint8Array(64) }]
    const elf = { kind: 'executable', entry: 0x8000_0000n, segments: [], code } as const
    const data = symbol('data', 0x8000_1000n, false)
    const label = symbol('label', 0x8000_0008n, false)
    const main = symbol('main', 0x8000_0000n, true)
    assert.equal(programSymbols({ ...elf, symbols: [data, label, main] }).at(0x8000_000cn), 'main+0xc')
    assert.equal(programSymbols({ ...elf, symbols: [data, label] }).at(0x8000_000cn), 'label+0x4')
    assert.equal(programSymbols({ ...elf, symbols: [data, label] }).at(0x8000_1000n), undefined)
  })
})
