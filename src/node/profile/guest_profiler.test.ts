import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BareComputer } from '../../board/bare.ts'
import type { ElfFile } from '../../board/elf.ts'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { RAM_BASE } from '../../machine/layout.ts'
import { GuestProfiler } from './guest_profiler.ts'

const STEPS = 1_000_000_000n

/** A program of two loops that take turns, endlessly. */
function loops(): ElfFile {
  const { bytes, labels } = assemble(
    `_start: li t0, 100000
     add: addi t0, t0, -1; addi t1, t1, 3; bnez t0, add
     j _start`,
    BigInt(RAM_BASE),
  )
  const entry = BigInt(RAM_BASE)
  return {
    ...{ kind: 'executable', entry, code: [{ name: '.text', address: entry, bytes }] },
    segments: [{ address: RAM_BASE, bytes, memoryBytes: bytes.length }],
    symbols: [...labels].map(([name, address]) => ({ name, address, isFunction: false, isGlobal: true })),
  }
}

test('a program that is translated is found in its regions, by the names of its places', () => {
  const profiler = new GuestProfiler()
  const elf = loops()
  const computer = new BareComputer({
    ...{ engine: nodeEngine, elf, name: 'loops', ramBytes: 4 << 20, translation: 'hot', print: () => {} },
    observer: profiler.observer,
  })
  profiler.start(computer.machine, elf)
  computer.run(STEPS)
  profiler.stop()
  const { steps, tiers, regions, translation, symbols, counters } = profiler.profile()
  assert.equal(steps.total, Number(STEPS))
  assert.ok(steps.translated > steps.interpreted, `${steps.translated} translated`)
  assert.ok(tiers.translated.seconds > 0.05, `${tiers.translated.seconds} s`)
  assert.equal(regions[0]?.space, 'program')
  assert.match(`${regions[0].symbol}`, /^(?:_start|add)/)
  assert.ok(translation !== null && translation.regions > 0 && translation.longestMs > 0)
  assert.equal(symbols, 2)
  assert.ok(counters.fetchMisses > 0 && counters.regionEntries > 0)
})
