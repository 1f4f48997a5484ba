import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Plic } from './plic.ts'
import { restore, stateOf } from './testing/state.ts'

const THRESHOLD = 0x20_0000
const CLAIM = 0x20_0004

function rig(harts = 1) {
  const levels = new Map<string, boolean>()
  const plic = new Plic({
    harts,
    sources: 95,
    line: (hart, mode, level) => {
      levels.set(`${hart}${mode}`, level)
    },
  })
  const enable = (context: number, irq: number) => {
    const offset = 0x2000 + 0x80 * context + 4 * (irq >> 5)
    plic.write(offset, 4, (plic.read(offset, 4) | (1 << (irq & 31))) >>> 0)
  }
  const priority = (irq: number, value: number) => plic.write(4 * irq, 4, value)
  return { plic, levels, enable, priority }
}

test('a high wire interrupts only the contexts that enable it, at a priority above their threshold', () => {
  const { plic, levels, enable, priority } = rig(2)
  enable(3, 40)
  plic.source(40)(true)
  assert.equal(levels.get('1S'), false, 'priority 0 never interrupts')
  assert.equal(plic.read(CLAIM + 0x3000, 4), 0, 'nor can it be claimed')
  priority(40, 3)
  assert.equal(levels.get('1S'), true)
  assert.equal(levels.get('1M'), false)
  plic.write(THRESHOLD + 0x3000, 4, 3)
  assert.equal(levels.get('1S'), false)
  assert.equal(plic.read(CLAIM + 0x3000, 4), 40, 'the threshold does not mask the claim')
})

test('a claimed source pends again only after completion, and only if its wire is still high', () => {
  const { plic, levels, enable, priority } = rig()
  enable(1, 10)
  priority(10, 1)
  const wire = plic.source(10)
  const claim = CLAIM + 0x1000
  wire(true)
  assert.equal(plic.read(claim, 4), 10)
  assert.equal(levels.get('0S'), false)
  wire(false)
  wire(true)
  assert.equal(plic.read(claim, 4), 0, 'no second request while the first is being served')
  plic.write(claim, 4, 10)
  assert.equal(levels.get('0S'), true)
  assert.equal(plic.read(claim, 4), 10)
  wire(false)
  plic.write(claim, 4, 10)
  assert.equal(levels.get('0S'), false)
  assert.equal(plic.read(claim, 4), 0)
})

test('a request once accepted stays pending when the wire falls', () => {
  const { plic, enable, priority } = rig()
  enable(1, 5)
  priority(5, 1)
  plic.source(5)(true)
  plic.source(5)(false)
  assert.equal(plic.read(0x1000, 4), 1 << 5)
  assert.equal(plic.read(CLAIM + 0x1000, 4), 5)
})

test('the highest priority is claimed first, and the lowest number among equals', () => {
  const { plic, enable, priority } = rig()
  for (const irq of [1, 31, 32, 64, 95]) {
    enable(0, irq)
    priority(irq, irq === 64 ? 7 : 2)
    plic.source(irq)(true)
  }
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => plic.read(CLAIM, 4)),
    [64, 1, 31, 32, 95, 0],
  )
})

test('completing a source that the context does not enable, or that does not exist, is ignored', () => {
  const { plic, enable, priority } = rig()
  enable(1, 7)
  priority(7, 1)
  plic.source(7)(true)
  assert.equal(plic.read(CLAIM + 0x1000, 4), 7)
  plic.write(CLAIM, 4, 7)
  for (const irq of [0, 96, 0xffff_ffff]) plic.write(CLAIM + 0x1000, 4, irq)
  assert.equal(plic.read(0x1000, 4), 0)
  plic.write(CLAIM + 0x1000, 4, 7)
  assert.equal(plic.read(0x1000, 4), 1 << 7)
})

test('bits and registers that do not exist read as zero', () => {
  const plic = new Plic({ harts: 1, sources: 35, line: () => {} })
  for (const offset of [0, 4 * 36, 0x2000, 0x2004, 0x2008, 0x2100, 0x20_2000, 0x3ff_fffc]) {
    plic.write(offset, 4, 0xffff_ffff)
  }
  assert.equal(plic.read(0, 4), 0)
  assert.equal(plic.read(4 * 36, 4), 0)
  assert.equal(plic.read(0x2000, 4), 0xffff_fffe)
  assert.equal(plic.read(0x2004, 4), 0xf)
  assert.equal(plic.read(0x2008, 4), 0)
  assert.equal(plic.read(0x20_2000, 4), 0)
  plic.write(4, 4, 0xff)
  assert.equal(plic.read(4, 4), 7)
  assert.equal(plic.read(4, 1), 0)
})

test('a restored controller has the same wires, claims and lines', () => {
  const { plic, enable, priority } = rig()
  for (const irq of [3, 4]) {
    enable(1, irq)
    priority(irq, 1)
    plic.source(irq)(true)
  }
  plic.read(CLAIM + 0x1000, 4)
  const copy = rig()
  restore(copy.plic, stateOf(plic))
  assert.equal(copy.levels.get('0S'), true)
  copy.plic.source(3)(true)
  copy.plic.write(CLAIM + 0x1000, 4, 3)
  assert.equal(copy.plic.read(CLAIM + 0x1000, 4), 3)
  copy.plic.reset()
  assert.equal(copy.levels.get('0S'), false)
  for (const irq of [3, 4]) copy.plic.source(irq)(false)
  assert.deepEqual(stateOf(copy.plic), stateOf(rig().plic))
})
