/** Conversions between floating point and integers, which translated code does by itself where that is right. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA } from '../testing/program.ts'

const BOUNDS = [31, 32, 53, 62, 63, 64].map((power) => 2 ** power)
const NUMBERS = [
  ...[0, 0.25, 0.999, 1, 1.5, 3, 1e-310, 1e300, Infinity, NaN],
  ...BOUNDS.flatMap((bound) => [
    bound - 1,
    bound - 0.5,
    bound,
    bound + 1,
    bound * (1 + 2 ** -52),
    bound * (1 - 2 ** -53),
  ]),
].flatMap((number) => [number, -number])
const INTEGERS = [0n, 1n, (1n << 24n) + 1n, (1n << 31n) - 1n, 1n << 31n, (1n << 32n) - 1n].concat(
  [53n, 62n, 63n, 64n].flatMap((power) => [-1n, 0n, 1n, 1025n].map((more) => (1n << power) + more)),
)

/**
 * Does something to every doubleword of `values`, several times, with inexact raised already or not; what comes of it and the
 * flags are mixed into s2.
 */
function compare(what: string, values: ArrayBuffer, result: string): void {
  for (const flags of [0, 1]) {
    const both = new BothWays(
      nodeEngine,
      `li t0, 0x6000; csrs mstatus, t0; li s1, 40
       again: li s0, ${DATA}; li s3, ${DATA + values.byteLength}
       next: csrwi fflags, ${flags}; jal t1, one; csrr t0, fflags; add s2, s2, t0
         addi s0, s0, 8; bltu s0, s3, next
         addi s1, s1, -1; bnez s1, again
         ecall
         .align 6
       one: ld a0, 0(s0); fld fa0, 0(s0); flw fa1, 0(s0); li a1, -1; ${what}; slli t0, s2, 1; xor s2, t0, ${result}; jr t1`,
    )
    both.each(({ machine }) => machine.ram.write(DATA, new Uint8Array(values)))
    both.finish(1009n)
    assert.ok(both.counts.steps > Number(both.translated.machine.position) / 4, 'it is translated')
  }
}

for (const type of ['w', 'wu', 'l', 'lu']) {
  for (const mode of ['rtz', 'rne', 'dyn', 'rdn']) {
    test(`fcvt.${type}.d and fcvt.${type}.s, ${mode}`, () => {
      compare(`fcvt.${type}.d a1, fa0, ${mode}`, Float64Array.from(NUMBERS).buffer, 'a1')
      const singles = Float32Array.from(NUMBERS.flatMap((number) => [number, 0]))
      compare(`fcvt.${type}.s a1, fa1, ${mode}`, singles.buffer, 'a1')
    })
    test(`fcvt.d.${type} and fcvt.s.${type}, ${mode}`, () => {
      const values = BigUint64Array.from(INTEGERS.flatMap((value) => [value, -value]))
      compare(`fcvt.d.${type} fa2, a0, ${mode}; fmv.x.d a1, fa2`, values.buffer, 'a1')
      compare(`fcvt.s.${type} fa2, a0, ${mode}; fmv.x.d a1, fa2`, values.buffer, 'a1')
    })
  }
}
