/** Floating point as the guest sees it in registers: boxes, canonical NaNs, flags, rounding modes, mstatus.FS. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { Program } from './testing/program.ts'

const FS = 0x6000
const run = (source: string): Program =>
  new Program(nodeEngine, `li t0, ${FS}; csrs mstatus, t0; ${source}`).finish()
const load = (register: string, bits: bigint): string => `li t0, ${bits}; fmv.d.x ${register}, t0`
const boxed = (bits: number): bigint => 0xffff_ffff_0000_0000n | BigInt(bits)

const ONE = 0x3f80_0000
const CANONICAL = 0x7fc0_0000
const SIGNALING = 0x7f80_0001
const ONE_D = 0x3ff0_0000_0000_0000n
const CANONICAL_D = 0x7ff8_0000_0000_0000n
const PAYLOAD_D = 0xfff8_0000_dead_beefn
const INVALID = 0x10n

test('a single that is not boxed counts as the canonical NaN', () => {
  const program = run(`
    ${load('ft0', BigInt(ONE))}; ${load('ft1', boxed(ONE))}
    fadd.s ft2, ft0, ft1; fmv.x.d a0, ft2
    fsgnjn.s ft3, ft0, ft0; fmv.x.d a1, ft3
    feq.s a2, ft0, ft0; fclass.s a3, ft0
    fmv.x.w a4, ft0
    fcvt.d.s ft4, ft0; fmv.x.d a5, ft4
    fmin.s ft5, ft0, ft1; fmv.x.d a6, ft5
    frflags a7`)
  assert.equal(program.x(10), boxed(CANONICAL))
  assert.equal(program.x(11), boxed(0xffc0_0000), 'sign injection takes the canonical NaN')
  assert.deepEqual([program.x(12), program.x(13)], [0n, 1n << 9n])
  assert.equal(program.x(14), BigInt(ONE), 'a move takes the bits as they are')
  assert.equal(program.x(15), CANONICAL_D)
  assert.equal(program.x(16), boxed(ONE))
  assert.equal(program.x(17), 0n, 'no signaling NaN was there')
})

test('results of singles are boxed', () => {
  const program = run(`
    li t1, -1; fcvt.s.w ft0, t1; fmv.x.d a0, ft0
    li t1, 0x40000000; fmv.w.x ft1, t1; fmv.x.d a1, ft1
    la t2, data; flw ft2, 0(t2); fmv.x.d a2, ft2
    ecall
    .align 2
  data: .word ${ONE}`)
  assert.deepEqual(
    [10, 11, 12].map((x) => program.x(x)),
    [boxed(0xbf80_0000), boxed(0x4000_0000), boxed(ONE)],
  )
})

test('arithmetic gives the canonical NaN whatever NaN goes in', () => {
  const operations = [
    'fadd.d ft2, ft0, ft1',
    'fsub.d ft2, ft1, ft0',
    'fmul.d ft2, ft0, ft1',
    'fdiv.d ft2, ft1, ft0',
  ]
  operations.push(
    'fsqrt.d ft2, ft0',
    'fmadd.d ft2, ft1, ft1, ft0',
    'fmin.d ft2, ft0, ft0',
    'fmax.d ft2, ft0, ft0',
  )
  for (const operation of operations) {
    const program = run(
      `${load('ft0', PAYLOAD_D)}; ${load('ft1', ONE_D)}; ${operation}; fmv.x.d a0, ft2; frflags a1`,
    )
    assert.deepEqual([program.x(10), program.x(11)], [CANONICAL_D, 0n], operation)
  }
})

test('moves, loads, stores and sign injection leave the bits of a NaN alone', () => {
  const program = run(`
    ${load('ft0', PAYLOAD_D)}
    fsgnj.d ft1, ft0, ft0; fmv.x.d a0, ft1
    la t2, data; fsd ft0, 0(t2); fld ft3, 0(t2); fmv.x.d a1, ft3; ld a2, 0(t2)
    ecall
    .align 3
  data: .dword 0`)
  assert.deepEqual(
    [10, 11, 12].map((x) => program.x(x)),
    [PAYLOAD_D, PAYLOAD_D, PAYLOAD_D],
  )
})

test('a signaling NaN raises the invalid flag, which stays until it is cleared', () => {
  const program = run(`
    ${load('ft0', boxed(SIGNALING))}; ${load('ft1', boxed(ONE))}
    fadd.s ft2, ft0, ft1; fadd.s ft3, ft1, ft1; frflags a0
    fsflags zero; flt.s a1, ft2, ft1; frflags a2
    fsflags zero; feq.s a3, ft2, ft1; frflags a4`)
  assert.deepEqual(
    [10, 11, 12, 13, 14].map((x) => program.x(x)),
    [INVALID, 0n, INVALID, 0n, 0n],
  )
})

test('every rounding mode rounds its own way, named in the instruction or in frm', () => {
  // 1 / 3 in the five modes; the infinite expansion is above the nearest-even result.
  const third = 0x3fd5_5555_5555_5555n
  const expected = [third, third, third, third + 1n, third]
  expected.forEach((value, mode) => {
    const name = ['rne', 'rtz', 'rdn', 'rup', 'rmm'][mode]!
    const operands = `${load('ft0', ONE_D)}; ${load('ft1', 0x4008_0000_0000_0000n)}`
    const program = run(`${operands}; fdiv.d ft2, ft0, ft1, ${name}; fmv.x.d a0, ft2
      li t0, ${mode}; fsrm t0; fdiv.d ft3, ft0, ft1, dyn; fmv.x.d a1, ft3; frflags a2`)
    assert.deepEqual(
      [10, 11, 12].map((x) => program.x(x)),
      [value, value, 1n],
      name,
    )
  })
})

test('reserved rounding modes are illegal: 5 and 6 in an instruction, 5 to 7 in frm', () => {
  const inInstruction = [5, 6].map((mode) => `.word ${0x0000_0053 | (mode << 12)}`).join('; ')
  assert.deepEqual(run(inInstruction).causes(), [2n, 2n])
  for (const mode of [5, 6, 7]) {
    assert.deepEqual(
      run(`li t1, ${mode}; fsrm t1; fadd.s ft0, ft0, ft0; fadd.s ft0, ft0, ft0, rne`).causes(),
      [2n],
    )
  }
})

test('with FS off every floating-point instruction and register is illegal', () => {
  const off = `li t0, ${FS}; csrc mstatus, t0; la t1, handler`
  const body =
    'fadd.s ft0, ft0, ft0; flw ft0, 0(t1); fsd ft0, 0(t1); fmv.x.d a0, ft0; csrr a0, fcsr; fsflags zero'
  assert.deepEqual(run(`${off}; ${body}`).causes(), [2n, 2n, 2n, 2n, 2n, 2n])
})

test('what changes floating-point state makes FS dirty', () => {
  const clean = `li t0, ${FS}; csrc mstatus, t0; li t0, 0x4000; csrs mstatus, t0`
  const dirtyAfter = (body: string): boolean => {
    const program = run(`la t1, handler; ${clean}; ${body}; csrr a0, mstatus`)
    assert.equal((program.x(10) & BigInt(FS)) === BigInt(FS), program.x(10) >> 63n === 1n, 'SD says the same')
    return program.x(10) >> 63n === 1n
  }
  for (const body of [
    'fmv.w.x ft0, zero',
    'flw ft0, 0(t1)',
    'fsrm zero',
    'fsflags zero',
    'fadd.d ft0, ft0, ft0',
  ]) {
    assert.equal(dirtyAfter(body), true, body)
  }
  assert.equal(dirtyAfter('fsw ft0, -8(s11)'), false)
})
