/** Results that are not sign-extended, since only their low halves are looked at. */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { Random } from '../../base/prng.ts'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { PAGE_BYTES } from '../layout.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA } from '../testing/program.ts'
import { findFlow } from './control_flow.ts'
import { findResultForms, type ResultForms } from './low_halves.ts'

/** How the results of a block are made. */
function formsOf(source: string): ResultForms {
  const page = new DataView(new ArrayBuffer(PAGE_BYTES))
  new Uint8Array(page.buffer).set(assemble(source, 0n).bytes)
  return findResultForms(findFlow(page, 0).blocks.get(0)!.instructions)
}

/** Whether the low half is enough, for each instruction of a block. */
const lowHalves = (source: string): readonly boolean[] => formsOf(source).low

test('the low half is enough where only instructions for words come behind', () => {
  // The last result is looked at by whatever comes behind the block.
  assert.deepEqual(lowHalves('addw a0, a1, a2; addw a0, a0, a3; addw a0, a0, a4; ecall'), [true, true, false])
  // Through what keeps low halves apart from high ones.
  assert.deepEqual(lowHalves('addw a0, a1, a2; xor a3, a0, a4; slliw a3, a3, 3; mv a0, a3; ecall'), [
    ...[true, true, false, false],
  ])
})

test('the whole counts to what looks at it', () => {
  for (const look of [
    'srli a3, a0, 3',
    'slt a3, a0, a4',
    'sub a5, a4, a0',
    'sh1add a5, a0, a1',
    'and a5, a0, a4',
  ])
    assert.equal(lowHalves(`addw a0, a1, a2; ${look}; li a0, 0; ecall`)[0], false, look)
  // Of these the low half of the result depends on the high half of an operand.
  for (const look of [
    'srli a3, a0, 3',
    'srl a3, a0, a4',
    'divu a3, a0, a4',
    'max a3, a0, a4',
    'ror a3, a0, a4',
  ])
    assert.deepEqual(lowHalves(`addw a0, a1, a2; ${look}; addw a3, a3, a3; li a0, 0; ecall`).slice(0, 2), [
      ...[false, true],
    ])
})

test('the whole counts wherever the region may be left', () => {
  for (const leave of [
    'lw a3, 0(a4)',
    'sw a3, 0(a4)',
    'csrr a3, sscratch',
    'amoadd.w a3, a3, (a4)',
    'fcvt.d.w fa0, a3',
    'fmv.x.w a3, fa0',
  ])
    assert.deepEqual(
      lowHalves(`addw a0, a1, a2; ${leave}; addw a0, a0, a0; ecall`),
      [false, false, false],
      leave,
    )
})

test('bits of words are combined with 32 bits where one of the words was computed so', () => {
  const words = (source: string) => formsOf(`${source}; ecall`).word
  // A rotation, of which the result is all that is sign-extended.
  const rotation = 'srliw a1, a0, 6; slliw a2, a0, 26; or a3, a1, a2; li a1, 0; li a2, 0'
  assert.deepEqual(words(rotation), [false, false, true, false, false])
  assert.deepEqual(lowHalves(`${rotation}; ecall`), [true, true, false, false, false])
  // What is read or combined is a word as well; what comes into the block may be anything.
  assert.deepEqual(words('lw a1, 0(a0); addw a2, a0, a0; xor a3, a1, a2; andi a4, a3, 7'), [
    ...[false, false, true, true],
  ])
  assert.deepEqual(words('lw a1, 0(a0); lw a2, 4(a0); or a3, a1, a2; addw a4, a1, a2'), [
    ...[false, false, false, false],
  ])
  const others = [
    'lwu a1, 0(a0)',
    'ld a1, 0(a0)',
    'add a1, a0, a0',
    'sub a1, a2, a2',
    'srli a1, a0, 3',
    'auipc a1, 0',
  ]
  for (const other of [
    ...others,
    'amoswap.d a1, a0, (a0)',
    'csrr a1, sscratch',
    'fmv.x.d a1, fa0',
    'li a4, 1',
  ])
    assert.deepEqual(words(`addw a2, a0, a0; ${other}; or a3, a1, a2`).slice(1), [false, false], other)
})

test('what is no word any more is combined with 64 bits', () => {
  for (const body of [
    'addw a0, a1, a1; amoswap.d a0, s3, (s1); addw a3, a1, a2; xor a4, a0, a3',
    'addw a0, a1, a1; csrrw a0, sscratch, s3; addw a3, a1, a2; xor a4, a0, a3',
    'fmv.d.x fa0, s3; addw a0, a1, a1; fmv.x.d a0, fa0; addw a3, a1, a2; xor a4, a0, a3',
    'auipc a0, 0; addw a3, a1, a2; xor a4, a0, a3',
    'li a0, 1; slliw a0, a0, 31; li a1, 1; addiw a1, a1, 0; sub a4, a0, a1',
    'addw t6, a1, a1; subw t5, a1, a2; xor t6, t6, t5; and t4, t6, zero; or a4, t6, t4',
    'addw zero, a1, a1; or a4, zero, a2; subw a3, a1, a2; or a5, a3, zero; xor a4, a4, a5; andi a4, a4, -1',
  ]) {
    const both = new BothWays(
      nodeEngine,
      `li t0, 0x6000; csrs mstatus, t0; li s1, ${DATA}; li s2, 300; li s3, 0x9e3779b97f4a7c15; sd s3, 0(s1); csrw sscratch, s3
      next: mul s5, s5, s3; addi s5, s5, 77; add a1, a1, s5; xor a2, a1, s3
      ${body}; slli s4, s4, 1; xor s4, s4, a4; xor s4, s4, a5; addi s2, s2, -1; bnez s2, next; ecall`,
    ).finish(997n)
    assert.ok(both.counts.steps > 0)
  }
})

const PROGRAMS = 60
const REGISTERS = ['a0', 'a1', 'a2', 'a3', 'a4', 'a5']

/** An instruction, most of them for words or without regard to what is in high halves. */
function instruction(random: Random): string {
  const [rd, rs1, rs2] = [0, 1, 2].map(() => random.pick(REGISTERS))
  const imm = random.below(4096) - 2048
  const words = ['addw', 'subw', 'sllw', 'srlw', 'sraw', 'mulw', 'divw', 'remuw', 'rorw', 'rolw']
  const kept = ['add', 'sub', 'xor', 'or', 'and', 'mul', 'andn', 'xnor', 'sh2add', 'add.uw']
  const whole = ['sltu', 'slt', 'sll', 'srl', 'sra', 'divu', 'rem', 'mulhu', 'max', 'ror']
  return random.pick([
    () => `${random.pick(words)} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(words)} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(kept)} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(kept)} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(['xor', 'or', 'and'])} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(['xor', 'or', 'and'])} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(['addiw', 'addi', 'xori', 'ori', 'andi'])} ${rd}, ${rs1}, ${imm}`,
    () => `${random.pick(['slliw', 'srliw', 'sraiw', 'roriw'])} ${rd}, ${rs1}, ${random.below(32)}`,
    () => `${random.pick(['clzw', 'ctzw', 'cpopw', 'sext.h', 'clz'])} ${rd}, ${rs1}`,
    () => `${random.pick(whole)} ${rd}, ${rs1}, ${rs2}`,
    () => `${random.pick(['slli', 'srli', 'srai'])} ${rd}, ${rs1}, ${random.below(32)}`,
    () =>
      random.pick([
        `${random.pick(['lw', 'lwu', 'ld', 'lb'])} ${rd}, ${8 * random.below(8)}(s1)`,
        `${random.pick(['sw', 'sd', 'sb'])} ${rs1}, ${8 * random.below(8)}(s1)`,
        // A fault, whose handler looks at all registers.
        `${random.pick(['lw', 'sw'])} ${rd}, 0(zero)`,
        `${random.pick(['amoadd.w', 'amoxor.d'])} ${rd}, ${rs1}, (s1)`,
        `${random.pick(['csrrw', 'csrrs'])} ${rd}, sscratch, ${rs1}`,
        `${random.pick(['fcvt.d.w', 'fcvt.d.lu', 'fmv.d.x'])} fa0, ${rs1}; fmv.x.d ${rd}, fa0`,
      ]),
  ])()
}

test('random instructions for words and for doublewords do the same both ways', () => {
  const first = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
  console.error(`seed ${first} (UNDERSTUDY_SEED=${first} repeats it)`)
  let [translated, steps] = [0, 0]
  for (let seed = first; seed < first + PROGRAMS; seed++) {
    const random = new Random(seed)
    const body = Array.from({ length: 10 + random.below(80) }, () => instruction(random))
    for (let branches = random.below(4); branches > 0; branches--) {
      const [at, to] = [random.below(body.length), random.below(9)]
      body.splice(at, 0, `bltu ${random.pick(REGISTERS)}, ${random.pick(REGISTERS)}, ${to + 1}f; nop`)
    }
    const labels = Array.from({ length: 9 }, (_, i) => `${i + 1}:`).join(' ')
    // Else all would soon be zeros and ones.
    const fresh = REGISTERS.map((name) => `mul s5, s5, s3; addi s5, s5, 77; add ${name}, ${name}, s5`)
    const both = new BothWays(
      nodeEngine,
      `la t0, pass; csrw mtvec, t0; li t0, 0x6000; csrs mstatus, t0; li s1, ${DATA}; li s2, 300; li s3, 0x9e3779b97f4a7c15; li s5, ${seed}
    next: ${fresh.join('; ')}
      ${body.join('\n')}
      ${labels} addi s2, s2, -1; bnez s2, next; ecall
      .align 2
    pass:
      csrr t0, mcause; addi t0, t0, -11; beqz t0, 1f; csrr t0, mepc; addi t0, t0, 4; csrw mepc, t0
      ${REGISTERS.map((name) => `slli s4, s4, 1; xor s4, s4, ${name}`).join('; ')}
      mret
    1: j handler`,
    ).finish(BigInt(random.pick([61, 997, 5003])))
    translated += both.counts.steps
    steps += Number(both.translated.machine.position)
  }
  assert.ok(translated > steps / 3, `${translated} of ${steps} steps are translated`)
})
