import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assemble } from '../../isa/assemble.ts'
import { instructions } from '../../isa/instructions.ts'
import { PAGE_BYTES } from '../layout.ts'
import { type Flow, type FlowHints, findFlow } from './control_flow.ts'

function flowOf(source: string, hints: Partial<FlowHints> = {}): Flow {
  const { bytes } = assemble(source, 0n)
  const page = new Uint8Array(PAGE_BYTES)
  page.set(bytes.subarray(0, PAGE_BYTES))
  return findFlow(new DataView(page.buffer), 0, {
    isMet: () => true,
    isElsewhere: () => false,
    targetsOf: () => [],
    codeAt: () => undefined,
    calledFrom: () => undefined,
    ...hints,
  })
}

const names = (flow: Flow, start: number): string[] =>
  flow.blocks.get(start)!.instructions.map(({ op }) => instructions[op]!.name)

test('a loop is cut where it begins and where it ends', () => {
  const flow = flowOf(`
      addi a0, zero, 100
   1: addi a1, a1, 3
      addi a0, a0, -1
      bnez a0, 1b
      wfi`)
  assert.deepEqual([...flow.blocks.keys()], [0, 4])
  assert.deepEqual(flow.blocks.get(0)!.end, { kind: 'fall', next: 4 })
  assert.deepEqual(names(flow, 4), ['addi', 'addi', 'bne'])
  assert.deepEqual(flow.blocks.get(4)!.end, { kind: 'branch', taken: 4, next: 16 })
})

test('what only the interpreter executes ends a block before it', () => {
  for (const text of [
    'ecall',
    'csrw frm, a0',
    'csrr a0, fflags',
    'csrw fcsr, a0',
    'mret',
    'sret',
    'wfi',
    'ebreak',
    'pause',
  ]) {
    const flow = flowOf(`addi a0, a0, 1\n${text}`)
    assert.deepEqual(flow.blocks.get(0)!.end, { kind: 'leave', at: 4 }, text)
    assert.equal(flowOf(text).blocks.size, 0, text)
  }
})

test('a call within the page is followed, and its return comes back behind it', () => {
  const flow = flowOf(`
      jal ra, f
      j .
   f: addi a0, a0, 1
      ret`)
  assert.deepEqual(flow.returns, [4])
  assert.deepEqual(flow.blocks.get(8)!.end, { kind: 'indirect', isReturn: true, targets: [] })
})

test('a far call within the page is followed as well', () => {
  const flow = flowOf(`
      auipc ra, 0
      jalr ra, 12(ra)
      j .
      addi a0, a0, 1
      ret`)
  assert.deepEqual(flow.blocks.get(0)!.end, { kind: 'jump', target: 12 })
  assert.deepEqual(flow.returns, [8])
  const far = flowOf('auipc t0, 0x7ffff\njalr zero, 2047(t0)').blocks.get(0)!
  assert.deepEqual(far.end, { kind: 'jump', target: 0x7fff_f7fe })
  const near = flowOf('auipc zero, 1\njalr zero, 0(zero)').blocks.get(0)!
  assert.equal(near.end.kind, 'indirect')
})

test('an indirect jump that is no return ends the region', () => {
  assert.deepEqual(flowOf('jr a0').blocks.get(0)!.end, { kind: 'indirect', isReturn: false, targets: [] })
  assert.deepEqual(flowOf('jalr t0, 0(ra)').blocks.get(0)!.end, {
    kind: 'indirect',
    isReturn: false,
    targets: [],
  })
})

test('a jump to an address in a register goes on where it has been seen to go, within the page', () => {
  const targetsOf = (offset: number): number[] => (offset === 0 ? [16, PAGE_BYTES + 4] : [])
  const flow = flowOf('jr a0\n.zero 12\naddi a0, a0, 1\nj .', { targetsOf })
  assert.deepEqual(flow.blocks.get(0)!.end, { kind: 'indirect', isReturn: false, targets: [16] })
  assert.ok(flow.blocks.has(16))
})

test('what has been translated already is left to that', () => {
  const flow = flowOf('addi a0, a0, 1\naddi a0, a0, 2\nbeqz a0, 1f\naddi a0, a0, 3\n1: ret', {
    isElsewhere: (offset) => offset === 12,
  })
  assert.deepEqual([...flow.blocks.keys()], [0, 16])
  assert.deepEqual(flow.blocks.get(0)!.end, { kind: 'branch', taken: 16, next: 12 })
})

test('a call of what is elsewhere, known or not, goes on behind it', () => {
  const far = flowOf('auipc t0, 0x7ffff\njalr ra, 2047(t0)\nj .')
  assert.deepEqual(far.blocks.get(0)!.end, { kind: 'call', target: 0x7fff_f7fe, next: 8 })
  const unknown = flowOf('jalr ra, 0(ra)\nj .')
  assert.deepEqual(unknown.blocks.get(0)!.end, { kind: 'call', target: undefined, next: 4 })
  for (const flow of [far, unknown]) assert.equal(flow.blocks.size, 2)
})

test('nothing beyond the page is decoded', () => {
  const page = new DataView(new ArrayBuffer(PAGE_BYTES))
  page.setUint32(PAGE_BYTES - 4, 0x0015_0513, true)
  const last = findFlow(page, PAGE_BYTES - 4).blocks.get(PAGE_BYTES - 4)!
  assert.deepEqual(last.end, { kind: 'leave', at: PAGE_BYTES })
  page.setUint16(PAGE_BYTES - 2, 0x0513, true)
  assert.equal(findFlow(page, PAGE_BYTES - 2).blocks.size, 0, 'half of an instruction')
})

test('a region has a limit', () => {
  const flow = flowOf('addi a0, a0, 1\n'.repeat(1000))
  const [block] = flow.blocks.values()
  assert.ok(block!.instructions.length <= 400)
  assert.equal(block!.end.kind, 'leave')
})
