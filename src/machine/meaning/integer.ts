/** RV64I without memory access, and M: one line an instruction, beside the unprivileged spec. */
import { type I32, type I64, i32, i64 } from '../../wasm/expression.ts'
import { requestExit } from '../csr.ts'
import type { Emitter, Meaning } from '../emitter.ts'
import { hart32, machine32, setHart64 } from '../fields.ts'
import { CAUSE, EXIT, PRIVILEGE } from '../layout.ts'

/** The low 32 bits, sign-extended: the result of the W instructions. */
export const sext32 = (value: I64): I64 => i64.extend32_s(value)
export const zext32 = (value: I64): I64 => i64.and(value, 0xffff_ffff)
export const word = (value: I64): I32 => i32.wrap(value)
export const fromWord = (value: I32): I64 => i64.extend_i32_s(value)
export const truth = (condition: I32): I64 => i64.extend_i32_u(condition)

/**
 * `low` gives the low half of the result from those of the operands. It is taken where that is all that counts, and where it is the result once it is
 * sign-extended, as bits of words are.
 */
export const rr =
  (result: (a: I64, b: I64) => I64, low?: (a: I32, b: I32) => I32): Meaning =>
  (e) =>
    low !== undefined && (e.isLowEnough || e.isWord)
      ? setWord(e, low(word(e.x1()), word(e.x2())))
      : e.setX(result(e.x1(), e.x2()))
export const ri =
  (result: (a: I64, imm: I64) => I64, low?: (a: I32, imm: I32) => I32): Meaning =>
  (e) =>
    low !== undefined && (e.isLowEnough || e.isWord)
      ? setWord(e, low(word(e.x1()), e.imm32()))
      : e.setX(result(e.x1(), e.imm()))
export const rrw =
  (result: (a: I32, b: I32) => I32): Meaning =>
  (e) =>
    setWord(e, result(word(e.x1()), word(e.x2())))
export const riw =
  (result: (a: I32, imm: I32) => I32): Meaning =>
  (e) =>
    setWord(e, result(word(e.x1()), e.imm32()))
/** Sign-extends, unless nobody looks at the upper half: zeros cost nothing there. */
function setWord(e: Emitter, value: I32): void {
  e.setX(e.isLowEnough ? i64.extend_i32_u(value) : fromWord(value))
}
const branch =
  (condition: (a: I64, b: I64) => I32): Meaning =>
  (e) =>
    e.branchIf(condition(e.x1(), e.x2()))

/** The causes of environment calls are 8 + privilege. With SBI built in, the board answers those of S-mode. */
const ecall: Meaning = (e) => {
  const answered = i32.and(machine32('sbi'), i32.eq(hart32(e.hart, 'privilege'), PRIVILEGE.supervisor))
  e.f.if(answered, () => {
    setHart64(e.f, e.hart, 'pc', e.nextPc())
    requestExit(e.f, EXIT.sbi)
    e.leave()
  })
  e.raise(i32.add(hart32(e.hart, 'privilege'), CAUSE.ecallU), 0)
}

export const integerMeanings: Record<string, Meaning> = {
  lui: (e) => e.setX(e.imm()),
  auipc: (e) => e.setX(i64.add(e.pc(), e.imm())),
  jal: (e) => {
    e.setX(e.nextPc())
    e.jump()
  },
  jalr: (e) => {
    const target = e.scratch64(0, i64.and(i64.add(e.x1(), e.imm()), -2))
    e.setX(e.nextPc())
    e.jumpTo(target)
  },
  beq: branch(i64.eq),
  bne: branch(i64.ne),
  blt: branch(i64.lt_s),
  bge: branch(i64.ge_s),
  bltu: branch(i64.lt_u),
  bgeu: branch(i64.ge_u),
  addi: ri(i64.add, i32.add),
  slti: ri((a, imm) => truth(i64.lt_s(a, imm))),
  sltiu: ri((a, imm) => truth(i64.lt_u(a, imm))),
  xori: ri(i64.xor, i32.xor),
  ori: ri(i64.or, i32.or),
  andi: ri(i64.and, i32.and),
  slli: ri(i64.shl),
  srli: ri(i64.shr_u),
  srai: ri(i64.shr_s),
  add: rr(i64.add, i32.add),
  sub: rr(i64.sub, i32.sub),
  sll: rr(i64.shl),
  slt: rr((a, b) => truth(i64.lt_s(a, b))),
  sltu: rr((a, b) => truth(i64.lt_u(a, b))),
  xor: rr(i64.xor, i32.xor),
  srl: rr(i64.shr_u),
  sra: rr(i64.shr_s),
  or: rr(i64.or, i32.or),
  and: rr(i64.and, i32.and),
  addiw: riw(i32.add),
  slliw: riw(i32.shl),
  srliw: riw(i32.shr_u),
  sraiw: riw(i32.shr_s),
  addw: rrw(i32.add),
  subw: rrw(i32.sub),
  sllw: rrw(i32.shl),
  srlw: rrw(i32.shr_u),
  sraw: rrw(i32.shr_s),
  // Harts take turns and stores take effect at once, so that every fence is already fulfilled.
  fence: () => {},
  'fence.i': () => {},
  ecall,
  ebreak: (e) => e.raise(CAUSE.breakpoint, e.pc()),
}

/** Division does not trap: by zero gives all ones and the dividend, overflow gives the dividend and zero. */
function divide(e: Emitter, kind: 'div_s' | 'div_u' | 'rem_s' | 'rem_u'): void {
  const { f } = e
  const a = e.scratch64(0, e.x1())
  const b = e.scratch64(1, e.x2())
  const isRemainder = kind.startsWith('rem')
  f.if(
    i64.eqz(b),
    () => e.setX(isRemainder ? a : i64.const(-1)),
    () => {
      if (kind !== 'div_s') return e.setX(i64[kind](a, b))
      // The smallest number divided by -1 overflows; negation gives the same without a trap.
      return f.if(
        i64.eq(b, -1),
        () => e.setX(i64.sub(0, a)),
        () => e.setX(i64.div_s(a, b)),
      )
    },
  )
}

function divideWord(e: Emitter, kind: 'div_s' | 'div_u' | 'rem_s' | 'rem_u'): void {
  const { f } = e
  const a = e.scratch32(0, word(e.x1()))
  const b = e.scratch32(1, word(e.x2()))
  const isRemainder = kind.startsWith('rem')
  f.if(
    i32.eqz(b),
    () => e.setX(isRemainder ? fromWord(a) : i64.const(-1)),
    () => {
      if (kind !== 'div_s') return e.setX(fromWord(i32[kind](a, b)))
      return f.if(
        i32.eq(b, -1),
        () => e.setX(fromWord(i32.sub(0, a))),
        () => e.setX(fromWord(i32.div_s(a, b))),
      )
    },
  )
}

/**
 * The high 64 bits of the product of two registers, by 32-bit halves; `correct` takes off what a negative factor counts too much when it
 * is read as unsigned: 2^64 times the other one.
 */
function multiplyHigh(e: Emitter, correct: (high: I64, a: I64, b: I64) => I64): void {
  const a = e.scratch64(0, e.x1())
  const b = e.scratch64(1, e.x2())
  const high = (value: I64): I64 => i64.shr_u(value, 32)
  const low = zext32
  const middle = e.scratch64(2, i64.add(i64.mul(high(a), low(b)), high(i64.mul(low(a), low(b)))))
  const other = i64.add(i64.mul(low(a), high(b)), low(middle))
  e.setX(correct(i64.add(i64.mul(high(a), high(b)), i64.add(high(middle), high(other))), a, b))
}

/** One factor if the other one is negative, else 0. */
const ifNegative = (factor: I64, other: I64): I64 => i64.and(i64.shr_s(factor, 63), other)

export const multiplyMeanings: Record<string, Meaning> = {
  mul: rr(i64.mul, i32.mul),
  mulh: (e) => multiplyHigh(e, (high, a, b) => i64.sub(i64.sub(high, ifNegative(a, b)), ifNegative(b, a))),
  mulhsu: (e) => multiplyHigh(e, (high, a, b) => i64.sub(high, ifNegative(a, b))),
  mulhu: (e) => multiplyHigh(e, (high) => high),
  div: (e) => divide(e, 'div_s'),
  divu: (e) => divide(e, 'div_u'),
  rem: (e) => divide(e, 'rem_s'),
  remu: (e) => divide(e, 'rem_u'),
  mulw: rrw(i32.mul),
  divw: (e) => divideWord(e, 'div_s'),
  divuw: (e) => divideWord(e, 'div_u'),
  remw: (e) => divideWord(e, 'rem_s'),
  remuw: (e) => divideWord(e, 'rem_u'),
}
