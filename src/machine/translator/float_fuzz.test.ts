/**
 * Floating point, translated against interpreted: what is special among operands, in all rounding modes, with inexact raised
 * and not, and with all states of mstatus.FS. An instruction that is illegal is passed over.
 */
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { Random } from '../../base/prng.ts'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA } from '../testing/program.ts'

/** What `npm test` compares. */
const PROGRAMS = 14

const DOUBLES = [
  ...[0x0n, 0x1n, 0xf_ffff_ffff_ffffn, 0x10_0000_0000_0000n, 0x10_0000_0000_0001n, 0x1f_ffff_ffff_ffffn],
  ...[0x20_0000_0000_0000n, 0x3ff0_0000_0000_0000n, 0x3ff0_0000_0000_0001n, 0x3fef_ffff_ffff_ffffn],
  ...[0x7fef_ffff_ffff_ffffn, 0x7ff0_0000_0000_0000n, 0x7ff8_0000_0000_0000n, 0x7ff0_0000_0000_0001n],
  ...[0x7ff8_0000_dead_beefn, 0x7fff_ffff_ffff_ffffn, 0x3fe0_0000_0000_0000n, 0x3ff8_0000_0000_0000n],
  ...[0x41df_ffff_ffc0_0000n, 0x41e0_0000_0000_0000n, 0x41ef_ffff_ffe0_0000n, 0x43e0_0000_0000_0000n],
  ...[0x47ef_ffff_e000_0000n, 0x47ef_ffff_f000_0000n, 0x3810_0000_0000_0000n, 0x380f_ffff_f000_0000n],
  ...[0x36a0_0000_0000_0000n, 0x3690_0000_0000_0000n, 0x4008_0000_0000_0000n, 0x3ca0_0000_0000_0000n],
]
const SINGLES = [
  ...[0x0, 0x1, 0x7f_ffff, 0x80_0000, 0x80_0001, 0xff_ffff, 0x100_0000, 0x3f80_0000, 0x3f80_0001],
  ...[0x3f7f_ffff, 0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000, 0x7f80_0001, 0x7fc1_2345, 0x4f00_0000, 0x4eff_ffff],
  ...[0x4f80_0000, 0x5f00_0000, 0x3f00_0000, 0x3400_0000, 0x4040_0000, 0x2000_0000, 0x1f80_0000],
]
const INTEGERS = [
  ...[0n, 1n, -1n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 0x1_0000_0000n, 1n << 53n, (1n << 53n) + 1n],
  ...[(1n << 62n) + 1n, (1n << 63n) - 1n, 1n << 63n, 0x1234_5678_9abc_def1n, (1n << 24n) + 1n, -0x8000_0000n],
]
const MODES = ['rne', 'rtz', 'rdn', 'rup', 'rmm', 'dyn', 'dyn', 'dyn', 'rne']

function operand(random: Random): bigint {
  const sign = random.chance(0.3)
  if (random.chance(0.45)) return random.pick(DOUBLES) | (sign ? 1n << 63n : 0n)
  const single = BigInt(random.pick(SINGLES)) | (sign ? 1n << 31n : 0n)
  if (random.chance(0.9)) return single | 0xffff_ffff_0000_0000n
  return random.chance(0.5) ? single : single | 0xffff_fffe_0000_0000n
}

function instruction(random: Random): string {
  const s = random.pick(['s', 'd'])
  const f = (): string => `f${random.below(12)}`
  const x = (): string => random.pick(['zero', 'a0', 'a1', 'a2', 'a3', 'a4'])
  const rm = random.pick(MODES)
  const t = random.pick(['w', 'wu', 'l', 'lu'])
  return random.pick([
    () => `f${random.pick(['add', 'sub', 'mul', 'div'])}.${s} ${f()}, ${f()}, ${f()}, ${rm}`,
    () => `f${random.pick(['add', 'sub', 'mul', 'div'])}.${s} ${f()}, ${f()}, ${f()}, ${rm}`,
    () => `f${random.pick(['madd', 'msub', 'nmadd', 'nmsub'])}.${s} ${f()}, ${f()}, ${f()}, ${f()}, ${rm}`,
    () => `f${random.pick(['madd', 'msub', 'nmadd', 'nmsub'])}.${s} ${f()}, ${f()}, ${f()}, ${f()}, ${rm}`,
    () => `fsqrt.${s} ${f()}, ${f()}, ${rm}`,
    () => `fcvt.${t}.${s} ${x()}, ${f()}, ${rm}`,
    () => `fcvt.${s}.${t} ${f()}, ${x()}, ${rm}`,
    () => `fcvt.s.d ${f()}, ${f()}, ${rm}`,
    () => `fcvt.d.s ${f()}, ${f()}`,
    () => `f${random.pick(['eq', 'lt', 'le'])}.${s} ${x()}, ${f()}, ${f()}`,
    () => `f${random.pick(['min', 'max', 'sgnj', 'sgnjn', 'sgnjx'])}.${s} ${f()}, ${f()}, ${f()}`,
    () => `fclass.${s} ${x()}, ${f()}`,
    () => random.pick([`fmv.x.d ${x()}, ${f()}`, `fmv.d.x ${f()}, ${x()}`]),
    () => random.pick([`fmv.x.w ${x()}, ${f()}`, `fmv.w.x ${f()}, ${x()}`]),
    () => `f${random.pick(['ld', 'lw', 'sd', 'sw'])} ${f()}, ${8 * random.below(32)}(s0)`,
    () => `ld ${x()}, ${256 + 8 * random.below(16)}(s0)`,
    // Back to numbers.
    () => `fld ${f()}, ${8 * random.below(32)}(s0)`,
  ])()
}

function program(random: Random): string {
  const some = (count: number): string =>
    Array.from({ length: count }, () => {
      const one = instruction(random)
      // Meeting points, and ways on which a register is written or not.
      return random.chance(0.12) ? `andi t0, s1, ${1 << random.below(4)}; beqz t0, 1f\n ${one}\n 1:` : one
    }).join('\n')
  return `
     la t0, pass; csrw mtvec, t0
     li s0, ${DATA}; li s1, 160
     li t0, 0x6000; csrs mstatus, t0
  round:
     jal t1, f
     andi t0, s1, 3; bnez t0, 2f                # every fourth: another rounding mode, state and flags
     srli t0, s1, 2; csrw frm, t0
     li t2, 0x6000; csrc mstatus, t2; slli t0, s1, ${9 + random.below(3)}; and t0, t0, t2; csrs mstatus, t0
     andi t0, s1, 16; bnez t0, 2f
     csrw fflags, zero
  2: addi s1, s1, -1; bnez s1, round
     ecall
     .align 2
  pass:
     csrr s10, mcause; addi s10, s10, -11; beqz s10, 1f
     csrr s10, mepc; add s9, s9, s10; addi s10, s10, 4; csrw mepc, s10
     mret
  1: j handler
     .align 12
  f: ${some(14)}
     li t3, 3
  3: ${some(10)}
     addi t3, t3, -1; bnez t3, 3b
     ${some(6)}
     csrr t0, fcsr; add s8, s8, t0; slli s8, s8, 1; xor s8, s8, s9
     jr t1`
}

test('floating point gives the same, translated and interpreted', () => {
  const first = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
  console.error(`seed ${first} (UNDERSTUDY_SEED=${first} repeats it)`)
  for (let seed = first; seed < first + PROGRAMS; seed++) {
    const random = new Random(seed)
    const source = program(random)
    const both = new BothWays(nodeEngine, source)
    const data = new BigUint64Array(48)
    for (let i = 0; i < 32; i++) data[i] = operand(random)
    for (let i = 32; i < 48; i++) data[i] = BigInt.asUintN(64, random.pick(INTEGERS))
    both.each(({ machine }) => machine.ram.write(DATA, new Uint8Array(data.buffer)))
    both.finish(BigInt(random.pick([113, 997, 5003])))
  }
})
