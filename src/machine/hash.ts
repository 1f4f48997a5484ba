/**
 * H(page number, content): the hash of one page of RAM, for the machine's digest.
 *
 * The digest adds the hashes of all pages, so that a changed page costs one subtraction and one addition. A page of
 * zeros hashes to 0 wherever it is: RAM that was never touched costs nothing. Four lanes keep the multiplier busy.
 * Not cryptographic: it finds divergence, not forgery.
 */
import { type I64, i32, i64 } from '../wasm/expression.ts'
import type { Callee, Local } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { PAGE_BYTES } from './layout.ts'

const MULTIPLIERS = [0x9e3779b97f4a7c15n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0xd6e8feb86659fd93n]

const LANES = 4

/** hashPage(page) -> i64. */
export function buildHashPage(module: ModuleBuilder): Callee {
  return module.function('hashPage', ['i32'], ['i64'], (f) => {
    const page = f.parameter(0, 'i32')
    const at = f.let(i32.shl(page, 12))
    const end = f.let(i32.add(at, PAGE_BYTES))
    const seen = f.local('i64', 0)
    const word = f.local('i64')
    const seed = i64.extend_i32_u(page)
    const lanes: Local<'i64'>[] = MULTIPLIERS.map((multiplier) =>
      f.let(i64.mul(i64.add(seed, 1), multiplier)),
    )
    f.loop((next) => {
      lanes.forEach((lane, i) => {
        f.set(word, i64.load(at, { memory: 1, offset: 8 * i }))
        f.set(seen, i64.or(seen, word))
        f.set(lane, i64.mul(i64.rotl(i64.xor(lane, word), 29), MULTIPLIERS[i]!))
      })
      f.set(at, i32.add(at, 8 * LANES))
      f.brIf(next, i32.lt_u(at, end))
    })
    f.ifUnlikely(i64.eqz(seen), () => f.return(i64.const(0)))
    const mixed = lanes.reduce<I64>((sum, lane, i) => i64.xor(i64.rotl(sum, 13 + i), lane), i64.const(0))
    const first = f.let(i64.mul(i64.xor(mixed, i64.shr_u(mixed, 32)), MULTIPLIERS[1]!))
    f.return(i64.xor(first, i64.shr_u(first, 29)))
  })
}
