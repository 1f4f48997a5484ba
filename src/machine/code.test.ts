import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { coldCopy, DATA, Program, SWITCHES } from './testing/program.ts'

const run = (source: string): Program => new Program(nodeEngine, source).finish()
/** addi a0, a0, n */
const addiA0 = (n: number): number => 0x00050513 | (n << 20)

test('a store over the next instruction is seen without fence.i', () => {
  const program = run(`
      li t0, ${addiA0(4)}
      la t1, target
      sw t0, 0(t1)
    target:
      addi a0, a0, 1`)
  assert.equal(program.x(10), 4n)
})

test('a loop that rewrites itself each time runs what it wrote', () => {
  const program = run(`
      li t0, ${addiA0(0)}
      la t1, target
      li t2, 0x100000
      li t3, 1000
    loop:
      add t0, t0, t2
      andi t4, t3, 63
      bnez t4, 1f
      li t0, ${addiA0(0)}
   1: sw t0, 0(t1)
    target:
      addi a0, a0, 0
      addi t3, t3, -1
      bnez t3, loop`)
  let expected = 0
  let added = 0
  for (let i = 1000; i > 0; i--) {
    added = (i & 63) === 0 ? 0 : added + 1
    expected += added
  }
  assert.equal(program.x(10), BigInt(expected))
})

test('stores of every width and place into an instruction are seen', () => {
  const stores = [
    'sb t0, 3(t1)',
    'sh t0, 2(t1)',
    'sw t0, 0(t1)',
    'sd t0, -2(t1)',
    'sb t0, 2(t1)',
    'sw t0, 1(t1)',
    'amoswap.w zero, t0, (t1)',
    'lr.w t3, (t1); sc.w t3, t0, (t1)',
    'fmv.w.x ft0, t0; fsw ft0, 0(t1)',
  ]
  for (const store of stores) {
    const source = `
        li t0, 0x6000
        csrs mstatus, t0
        la t1, target
        jalr ra, 0(t1)
        li t0, ${addiA0(5)}
        ${store}
      stored:
        jalr ra, 0(t1)
        ecall
        .align 3
        .word 0x13, 0x13
      target:
        addi a0, a0, 1
        addi a0, a0, 64
        jr ra`
    const warm = new Program(nodeEngine, source)
    const cold = coldCopy(nodeEngine, new Program(nodeEngine, source).runTo('stored').machine)
    warm.finish()
    cold.run(warm.machine.position)
    assert.equal(warm.machine.digest(), cold.digest(), store)
  }
})

test('code in a page full of data that is written all the time stays right', () => {
  const program = run(`
      la t1, data
      li t3, 3000
    loop:
      sd t3, 0(t1)
      ld t0, 0(t1)
      add a0, a0, t0
      addi t3, t3, -1
      bnez t3, loop
      ecall
      .align 3
    data: .dword 0`)
  assert.equal(program.x(10), BigInt((3000 * 3001) / 2))
})

test('code copied over code, again and again, through more pages than there are slots in a row', () => {
  const program = run(`
      li s0, ${DATA}
      li s1, ${DATA + 0x4_0000}
      li t0, ${addiA0(1)}
      li t1, 0x8067
    page:
      sw t0, 0(s0)
      sw t1, 4(s0)
      jalr ra, 0(s0)
      li t2, ${addiA0(3)}
      sw t2, 0(s0)
      jalr ra, 0(s0)
      li t2, 4096
      add s0, s0, t2
      bltu s0, s1, page`)
  assert.equal(program.x(10), 64n * 4n)
})

test('DMA over code is seen', () => {
  const program = new Program(
    nodeEngine,
    `
      la t1, target
      jalr ra, 0(t1)
      li t0, ${SWITCHES}
      sw zero, 0(t0)
      jalr ra, 0(t1)
      ecall
      .align 3
    target:
      addi a0, a0, 1
      jr ra`,
  )
  program.finish()
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, addiA0(8), true)
  program.machine.ram.write(Number(program.label('target')), bytes)
  assert.equal(program.finish().x(10), 9n)
})

test('a jump into the middle of an instruction runs what stands there', () => {
  // lui a1, 0x00505 holds c.addi a0, 1 (0x0505) in its upper half; behind it, c.jr ra (0x8082).
  const program = run(`
      la t0, target
      jalr ra, 2(t0)
      jalr ra, 0(t0)
      ecall
      .align 2
    target:
      .word 0x050505b7
      .half 0x8082`)
  assert.equal(program.x(10), 1n)
  assert.equal(program.x(11), 0x05050000n)
})

test('executing what is no memory, or beyond RAM, faults', () => {
  const program = run(
    `li t0, 0x1000; jalr ra, 0(t0); li t0, ${SWITCHES}; jalr ra, 0(t0); li t0, 0x80200000; jalr ra, 0(t0)`,
  )
  assert.deepEqual(
    program.traps().map(({ cause, epc, tval }) => [cause, epc === tval, tval]),
    [
      [1n, true, 0x1000n],
      [1n, true, BigInt(SWITCHES)],
      [1n, true, 0x8020_0000n],
    ],
  )
})

test('an instruction whose second half would lie beyond RAM faults there', () => {
  const program = run('li t0, 0x801ffffe; li t1, 0x0513; sh t1, 0(t0); jalr ra, 0(t0)')
  assert.deepEqual(program.traps(), [{ cause: 1n, epc: 0x801f_fffen, tval: 0x8020_0000n }])
})

test('a store behind a pair of instructions leaves both of them what they are', () => {
  for (let halfwords = 0; halfwords <= 6; halfwords++) {
    const program = run(`
        la t1, target
        li t0, 0x00000013
        li t2, 3
      again:
        c.mv a0, a1
        c.addi a0, 1
        ${'c.nop\n'.repeat(halfwords)}
      target:
        addi t3, t3, 1
        add a2, a2, a0
        sw t0, 0(t1)
        addi t2, t2, -1
        bnez t2, again`)
    assert.equal(program.x(12), 3n, `${halfwords} halfwords between`)
  }
})

test('a store behind a chain of instructions that share handlers leaves the ones before it as they are', () => {
  // Each addi shares a handler with the next one, which may be reached as the first or as the second of a pair.
  for (const before of ['', 'addi a1, a1, 1']) {
    const program = run(`
        la t0, patched
        li t1, ${addiA0(7)}
        jal ra, chain
        li a0, 0
        sw t1, 0(t0)
        jal ra, chain
        j end
      chain:
        ${before}
        addi a0, a0, 100
        addi a0, a0, 200
        addi a0, a0, 300
        addi a0, a0, 400
      patched:
        addi a0, a0, 500
        ret
      end:`)
    assert.equal(program.x(10), 1007n)
  }
})
