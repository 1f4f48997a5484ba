/** Zba, Zbb and Zbs (bit-manipulation extensions). */
import { type I32, type I64, i32, i64, select } from '../../wasm/expression.ts'
import type { Emitter, Meaning } from '../emitter.ts'
import { fromWord, ri, riw, rr, rrw, word, zext32 } from './integer.ts'

const not = (value: I64): I64 => i64.xor(value, -1)
const bit = (index: I64): I64 => i64.shl(1, index)
const shiftAdd =
  (amount: number, operand: (a: I64) => I64 = (a) => a): Meaning =>
  (e) =>
    e.setX(i64.add(i64.shl(operand(e.x1()), amount), e.x2()))
const unary =
  (result: (value: I64) => I64): Meaning =>
  (e) =>
    e.setX(result(e.x1()))
const unaryWord =
  (result: (value: I32) => I32): Meaning =>
  (e) =>
    e.setX(fromWord(result(word(e.x1()))))

function choose(e: Emitter, condition: (a: I64, b: I64) => I32): void {
  const a = e.scratch64(0, e.x1())
  const b = e.scratch64(1, e.x2())
  e.setX(select(condition(a, b), a, b))
}

/** Each byte becomes 0xff if it has any bit set: its low seven bits carry into the top one. */
function orCombine(e: Emitter): void {
  const value = e.scratch64(0, e.x1())
  const carried = i64.add(i64.and(value, 0x7f7f7f7f7f7f7f7fn), 0x7f7f7f7f7f7f7f7fn)
  const tops = i64.and(i64.or(value, carried), 0x8080808080808080n)
  e.setX(i64.mul(i64.shr_u(tops, 7), 0xff))
}

/** Reverses the bytes: swaps bytes in halfwords, halfwords in words, then words. */
function reverseBytes(e: Emitter): void {
  const swap = (value: I64, mask: bigint, amount: number): I64 =>
    i64.or(i64.and(i64.shr_u(value, amount), mask), i64.shl(i64.and(value, mask), amount))
  const bytes = e.scratch64(0, e.x1())
  const halves = e.scratch64(1, swap(bytes, 0x00ff00ff00ff00ffn, 8))
  const words = e.scratch64(0, swap(halves, 0x0000ffff0000ffffn, 16))
  e.setX(i64.rotl(words, 32))
}

export const bitMeanings: Record<string, Meaning> = {
  sh1add: shiftAdd(1),
  sh2add: shiftAdd(2),
  sh3add: shiftAdd(3),
  'add.uw': shiftAdd(0, zext32),
  'sh1add.uw': shiftAdd(1, zext32),
  'sh2add.uw': shiftAdd(2, zext32),
  'sh3add.uw': shiftAdd(3, zext32),
  'slli.uw': ri((a, amount) => i64.shl(zext32(a), amount)),
  andn: rr((a, b) => i64.and(a, not(b))),
  orn: rr((a, b) => i64.or(a, not(b))),
  xnor: rr((a, b) => not(i64.xor(a, b))),
  clz: unary(i64.clz),
  ctz: unary(i64.ctz),
  cpop: unary(i64.popcnt),
  clzw: unaryWord(i32.clz),
  ctzw: unaryWord(i32.ctz),
  cpopw: unaryWord(i32.popcnt),
  'sext.b': unary(i64.extend8_s),
  'sext.h': unary(i64.extend16_s),
  'zext.h': unary((value) => i64.and(value, 0xffff)),
  min: (e) => choose(e, i64.lt_s),
  minu: (e) => choose(e, i64.lt_u),
  max: (e) => choose(e, i64.gt_s),
  maxu: (e) => choose(e, i64.gt_u),
  rol: rr(i64.rotl),
  ror: rr(i64.rotr),
  rori: ri(i64.rotr),
  rolw: rrw(i32.rotl),
  rorw: rrw(i32.rotr),
  roriw: riw(i32.rotr),
  'orc.b': orCombine,
  rev8: reverseBytes,
  bclr: rr((a, b) => i64.and(a, not(bit(b)))),
  bclri: ri((a, index) => i64.and(a, not(bit(index)))),
  bext: rr((a, b) => i64.and(i64.shr_u(a, b), 1)),
  bexti: ri((a, index) => i64.and(i64.shr_u(a, index), 1)),
  binv: rr((a, b) => i64.xor(a, bit(b))),
  binvi: ri((a, index) => i64.xor(a, bit(index))),
  bset: rr((a, b) => i64.or(a, bit(b))),
  bseti: ri((a, index) => i64.or(a, bit(index))),
}
