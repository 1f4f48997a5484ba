/** Loads, stores and atomics. Every access is coherent at once: harts take turns. */
import { type I32, type I64, i64, select } from '../../wasm/expression.ts'
import type { AccessBytes, Meaning } from '../emitter.ts'

const load =
  (bytes: AccessBytes, signed: boolean): Meaning =>
  (e) =>
    e.load(bytes, signed, (value) => e.setX(value))
const store =
  (bytes: AccessBytes): Meaning =>
  (e) =>
    e.store(bytes, e.x2())

export const memoryMeanings: Record<string, Meaning> = {
  lb: load(1, true),
  lh: load(2, true),
  lw: load(4, true),
  ld: load(8, true),
  lbu: load(1, false),
  lhu: load(2, false),
  lwu: load(4, false),
  sb: store(1),
  sh: store(2),
  sw: store(4),
  sd: store(8),
}

type Change = (old: I64, operand: I64) => I64

const pick =
  (condition: (a: I64, b: I64) => I32): Change =>
  (old, operand) =>
    select(condition(old, operand), old, operand)

const changes: Record<string, Change> = {
  amoswap: (_old, operand) => operand,
  amoadd: i64.add,
  amoxor: i64.xor,
  amoand: i64.and,
  amoor: i64.or,
  amomin: pick(i64.lt_s),
  amomax: pick(i64.gt_s),
  amominu: pick(i64.lt_u),
  amomaxu: pick(i64.gt_u),
}

/** Words are compared sign-extended, which keeps the order of unsigned words as well. */
function atomic(bytes: 4 | 8, change: Change): Meaning {
  return (e) => {
    const operand = e.scratch64(2, bytes === 4 ? i64.extend32_s(e.x2()) : e.x2())
    e.modify(
      bytes,
      (old) => change(old, operand),
      (old) => e.setX(old),
    )
  }
}

function atomicMeanings(): Record<string, Meaning> {
  const meanings: Record<string, Meaning> = {}
  for (const [suffix, bytes] of [
    ['w', 4],
    ['d', 8],
  ] as const) {
    meanings[`lr.${suffix}`] = (e) => e.loadReserved(bytes)
    meanings[`sc.${suffix}`] = (e) => e.storeConditional(bytes, e.x2())
    for (const [name, change] of Object.entries(changes))
      meanings[`${name}.${suffix}`] = atomic(bytes, change)
  }
  return meanings
}

Object.assign(memoryMeanings, atomicMeanings())
