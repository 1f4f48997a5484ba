/**
 * All sequences in one program: executed in one piece they must do what their instructions do one by one, with
 * accesses that hit, that are misaligned and that fault, and with branches both ways.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { findInstruction } from '../isa/instructions.ts'
import { fusedSequences } from './fused_sequences.ts'
import { DATA, Program } from './testing/program.ts'

/** Operands of two-byte instructions; where a name has several encodings, one of them. Jumps go to label 1. */
const SHORT: Readonly<Record<string, (register: () => string) => string>> = {
  'ld.c': (r) => `c.ld ${r()}, 16(s0)`,
  'lw.c': (r) => `c.lw ${r()}, 8(s0)`,
  'sd.c': (r) => `c.sd ${r()}, 24(s0)`,
  'sw.c': (r) => `c.sw ${r()}, 4(s0)`,
  'lui.c': (r) => `c.lui ${r()}, 5`,
  'addi.c': (r) => `c.addi ${r()}, 3`,
  'addiw.c': (r) => `c.addiw ${r()}, -5`,
  'andi.c': (r) => `c.andi ${r()}, 25`,
  'slli.c': (r) => `c.slli ${r()}, 3`,
  'srli.c': (r) => `c.srli ${r()}, 2`,
  'srai.c': (r) => `c.srai ${r()}, 1`,
  'beq.c': (r) => `c.beqz ${r()}, 1f`,
  'bne.c': (r) => `c.bnez ${r()}, 1f`,
  'jal.c': () => 'c.j 1f',
  'jalr.c': () => 'c.jr t0',
}

const LONG: Readonly<Record<string, (name: string, register: () => string) => string>> = {
  R: (name, r) => `${name} ${r()}, ${r()}, ${r()}`,
  S: (name, r) => `${name} ${r()}, 40(s0)`,
  B: (name, r) => `${name} ${r()}, ${r()}, 1f`,
  U: (name, r) => `${name} ${r()}, 9`,
  J: (name) => `${name} ra, 1f`,
}

function instructionText(name: string, register: () => string): string {
  const short = SHORT[name]
  if (short !== undefined) return short(register)
  if (name.endsWith('.c')) return `c.${name.slice(0, -2)} ${register()}, ${register()}`
  if (name === 'jalr') return 'jalr ra, 0(t0)'
  const { format } = findInstruction(name)!
  if (LONG[format] !== undefined) return LONG[format](name, register)
  return name.startsWith('l') ? `${name} ${register()}, 32(s0)` : `${name} ${register()}, ${register()}, 7`
}

/** Every sequence, with other registers in each round of the generator. */
function body(): string {
  let state = 1
  const register = (): string => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return `a${(state >>> 16) % 6}`
  }
  return fusedSequences
    .map((names) => {
      const texts = names.split(' ').map((name) => instructionText(name, register))
      return ['la t0, 1f', ...texts, '1:'].join('\n')
    })
    .join('\n')
}

/** Traps go on behind the instruction and are added up in s2. Rounds: aligned, misaligned, aligned, faulting, ... */
const source = `
      la t0, trap
      csrw mtvec, t0
      li s3, 12
      li s4, ${DATA + 0x800}
    round:
      andi t1, s3, 3
      slli t2, t1, 12
      add s0, s4, t2
      andi t1, s3, 1
      beqz t1, 2f
      addi s0, s0, 1
      andi t1, s3, 2
      beqz t1, 2f
      li s0, 0x1000
    2:
      add a0, a0, s3
      slli a1, s3, 60
      addi a2, a2, -1
      xor a3, a3, s3
    ${body()}
      addi s3, s3, -1
      beqz s3, 3f
      la t0, round
      jr t0
    3:
      ecall
      .align 2
    trap:
      csrr s5, mcause
      addi s5, s5, -11
      beqz s5, 5f
      csrr s5, mtval
      add s2, s2, s5
      csrr s5, mepc
      lhu s6, 0(s5)
      addi s5, s5, 2
      andi s6, s6, 3
      addi s6, s6, -3
      bnez s6, 4f
      addi s5, s5, 2
    4:
      csrw mepc, s5
      mret
    5:
      la t0, handler
      jr t0`

test('every sequence does in one piece what its instructions do one by one', () => {
  const whole = new Program(nodeEngine, source).finish()
  assert.notEqual(whole.x(18), 0n, 'some accesses fault')
  const single = new Program(nodeEngine, source)
  const { machine } = single
  while (machine.position < whole.machine.position) machine.run(machine.position + 1n)
  assert.equal(machine.digest(), whole.machine.digest())
})
