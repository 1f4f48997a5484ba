/** Small functions of other pages, which regions take in where they call them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { AddressSpace, pte, pteAddress, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, OPEN_PMP, Program, TABLES } from '../testing/program.ts'
import { findFlow, successors } from './control_flow.ts'
import { findRegisterFlow } from './register_flow.ts'
import { findSmallFunction } from './small_functions.ts'
import { buildFlowGraph } from './structure.ts'

/** Of a page of its own: after assembly of its source, with all of it executed or all but some offsets. */
function isSmall(source: string, { offset = 0, unmet = [] as readonly number[] } = {}): boolean {
  const page = new Uint8Array(4096)
  page.set(assemble(source, 0n).bytes.subarray(0, 4096 - offset), offset)
  const isMet = (at: number): boolean => !unmet.includes(at)
  return findSmallFunction({ page: 1, offset, bytes: new DataView(page.buffer), isMet }) !== undefined
}

test('what is small: straight or forward only, without calls, loops and atomics', () => {
  assert.ok(isSmall('ret'))
  assert.ok(isSmall('auipc t3, 5; ld t3, 16(t3); jalr t1, 0(t3)'), 'a stub of a library')
  assert.ok(isSmall('ld a0, 0(a0); ld a5, 0(a1); bltu a0, a5, 1f; sltu a0, a5, a0; ret; 1: li a0, -1; ret'))
  assert.ok(isSmall(`${'addi a0, a0, 1;'.repeat(23)} ret`))
  assert.ok(!isSmall(`${'addi a0, a0, 1;'.repeat(24)} ret`), 'too long')
  assert.ok(!isSmall('1: addi a0, a0, -1; bnez a0, 1b; ret'), 'a loop')
  assert.ok(!isSmall('1: bnez a0, 1b; ret'), 'a loop of one')
  assert.ok(!isSmall('mv t0, ra; jal ra, . + 64; jr t0'), 'a call')
  assert.ok(!isSmall('mv t0, ra; jalr ra, 0(a0); jr t0'), 'a call of what a register says')
  assert.ok(!isSmall('jal t0, 1f; ret; 1: jr t0'), 'a call by another register')
  assert.ok(!isSmall('amoadd.d a0, a1, (a2); ret') && !isSmall('sc.w a0, a1, (a2); ret'))
  assert.ok(!isSmall('ecall; ret') && !isSmall('frrm a0; ret'), 'what is not translated')
  assert.ok(!isSmall('addi a0, a0, 1; ret', { offset: 4092 }), 'it goes on in the next page')
  assert.ok(!isSmall('bnez a0, 1f; ret; 1: ecall'), 'on a way that is taken')
  assert.ok(isSmall('bnez a0, 1f; ret; .align 2; 1: ecall', { unmet: [8] }), 'on none that is')
  assert.ok(!isSmall('ret', { unmet: [0] }), 'it was never called')
})

const functionAt = (index: number): number => DATA + (index + 1) * 0x1000

function put(program: Program, address: number, source: string): void {
  program.machine.ram.write(address, assemble(source, BigInt(address)).bytes)
}

/** A program, and functions in pages of their own, whose addresses are in s2, s3 and so on. */
function withFunctions(main: string, functions: readonly string[]): BothWays {
  const addresses = functions.map((_, i) => `li s${i + 2}, ${functionAt(i)}`).join('; ')
  const both = new BothWays(nodeEngine, `${addresses}; li s11, ${DATA + 0xe_0000}; ${main}`)
  both.each((program) => {
    for (const [i, source] of functions.entries()) put(program, functionAt(i), source)
  })
  return both
}

const COMPARE = 'ld a0, 0(a0); ld a5, 0(a1); bltu a0, a5, 1f; sltu a0, a5, a0; ret; 1: li a0, -1; ret'

test('a function is taken in where it is called, however the pieces are cut', () => {
  for (const piece of [1n, 7n, 97n, 1009n]) {
    const both = withFunctions(
      `li s1, 400; li s5, 0; li s6, ${DATA}
    next: andi t0, s1, 31; slli t0, t0, 3; add a0, s6, t0; xori t0, t0, 64; add a1, s6, t0
      jalr ra, 0(s2); add s5, s5, a0
      sd s5, 0(s6); addi s1, s1, -1; bnez s1, next; ecall`,
      [COMPARE],
    ).finish(piece)
    if (piece > 50n) assert.ok(both.counts.takenIn > 0)
  }
})

test('calls of what is known at the call, by jal and by auipc', () => {
  const both = new BothWays(
    nodeEngine,
    `li s1, 600
    next: jal ra, near; 1: auipc ra, 1; jalr ra, far - 1b - 0x1000(ra); addi s1, s1, -1; bnez s1, next; ecall
    .align 12
    near: addi a1, a1, 5; auipc a2, 0; add a3, a3, a2; ret
    far: addi a4, a4, 1; beqz a4, 1f; auipc a5, 0; add a3, a3, ra; 1: ret`,
  ).finish(83n)
  assert.ok(both.counts.takenIn >= 2)
  assert.equal(both.translated.x(14), 600n)
})

test('nothing comes from a function, of which only the beginning is known, to the head of a loop behind its call', () => {
  const pageOf = (source: string): DataView<ArrayBuffer> => {
    const page = new Uint8Array(4096)
    page.set(assemble(source, 0n).bytes)
    return new DataView(page.buffer)
  }
  const code = {
    page: 1,
    offset: 0,
    bytes: pageOf('bnez a0, 1f; ret; 1: ret'),
    isMet: (at: number) => at === 0,
  }
  const flow = findFlow(pageOf('1: nop; jal ra, . + 4096; 2: addi a1, a1, -1; bnez a1, 2b; j 1b'), 0, {
    ...{ isMet: () => true, isElsewhere: () => false, targetsOf: () => [] },
    ...{ codeAt: () => code, calledFrom: () => undefined },
  })
  assert.equal(flow.takenIn.length, 1)
  const graph = buildFlowGraph(
    0,
    (start) => flow.blocks.has(start),
    (start) => successors(flow.blocks.get(start)!, flow),
  )
  const behind = flow.takenIn[0]!.next
  assert.ok(graph.isLoopHead(behind))
  const { start } = findRegisterFlow(graph, flow.blocks).at(behind)
  assert.equal(start.dirty.x & ~(1 << 11), 0, 'a1 only, by the loop itself')
})

test('a call that goes elsewhere than before goes there', () => {
  const both = withFunctions(
    `li s1, 900; li s5, ${functionAt(0) ^ functionAt(1)}
  next: jalr ra, 0(s2); add a1, a1, a0
    andi t0, s1, 127; bnez t0, 1f; xor s2, s2, s5
  1: addi s1, s1, -1; bnez s1, next; ecall`,
    ['addi a0, a0, 1; ret', 'slli a0, a0, 1; xori a0, a0, 5; ret'],
  ).finish(61n)
  assert.ok(both.counts.takenIn > 0)
})

test('another place of the same page is another function', () => {
  const both = withFunctions(
    `li s1, 900
  next: jalr ra, 0(s2); add a1, a1, a0
    andi t0, s1, 127; bnez t0, 1f; xori s2, s2, 64
  1: addi s1, s1, -1; bnez s1, next; ecall`,
    ['addi a0, a0, 1; ret; .align 6; slli a0, a0, 1; xori a0, a0, 5; ret'],
  ).finish(61n)
  assert.ok(both.counts.takenIn > 0)
})

test('a stub goes on to what its table says, and that comes back behind the call', () => {
  const both = withFunctions(
    `li s1, 900; li s6, ${functionAt(1)}; sd s6, 0(s11); li s5, ${functionAt(1) ^ functionAt(2)}
  next: jalr ra, 0(s2); add a1, a1, a0
    andi t0, s1, 127; bnez t0, 1f; xor s6, s6, s5; sd s6, 0(s11)
  1: addi s1, s1, -1; bnez s1, next; ecall`,
    [
      'ld t3, 0(s11); jalr t1, 0(t3)',
      `${'addi a0, a0, 3; slli a2, a0, 3; xor a0, a0, a2;'.repeat(12)} ret`,
      `li t0, 5; 1: add a0, a0, t0; addi t0, t0, -1; bnez t0, 1b; ret`,
    ],
  ).finish(71n)
  assert.ok(both.counts.takenIn > 0)
})

test('a function that returns elsewhere, or by another register', () => {
  const both = withFunctions(
    `li s1, 600
  next: jalr ra, 0(s2); addi a1, a1, 1
  2: addi a1, a1, 100
    addi s1, s1, -1; bnez s1, next; ecall`,
    ['andi t0, s1, 7; bnez t0, 1f; addi ra, ra, 4; 1: andi t0, s1, 3; bnez t0, 2f; ret; 2: mv t2, ra; jr t2'],
  ).finish(67n)
  assert.ok(both.counts.takenIn > 0)
})

test('a store to a function changes what its callers do, at the next call', () => {
  const both = withFunctions(
    `li s1, 1200; lw s5, 0(s2); li s6, 0x100000
  next: jalr ra, 0(s2)
    andi t0, s1, 63; bnez t0, 1f; add s5, s5, s6; sw s5, 0(s2)
  1: addi s1, s1, -1; bnez s1, next; ecall`,
    ['addi a0, a0, 1; ret'],
  ).finish(79n)
  assert.ok(both.counts.takenIn > 0 && both.counts.dropped > 0)
})

test('a function that stores to itself, behind the store and before it', () => {
  for (const [what, offset] of [
    ['in front', 0],
    ['behind', 12],
  ] as const) {
    const both = withFunctions(
      `li s1, 600; lw s5, ${offset}(s2); li s6, 0x100000
    next: jalr ra, 0(s2); addi s1, s1, -1; bnez s1, next; ecall`,
      [`addi a0, a0, 1; xori a1, a0, 9; sw s5, ${offset}(s2); addi a2, a2, 1; add s5, s5, s6; ret`],
    ).finish(79n)
    assert.ok(both.counts.dropped > 0, what)
  }
})

test('a device writes to a function between two pieces', () => {
  const both = withFunctions(`li s1, 3000; next: jalr ra, 0(s2); addi s1, s1, -1; bnez s1, next; ecall`, [
    'addi a0, a0, 1; ret',
  ])
  both.run(3000n)
  assert.ok(both.counts.takenIn > 0)
  both.each((program) => put(program, functionAt(0), 'addi a0, a0, 100; ret'))
  both.run(3000n)
  assert.ok(both.translated.x(10) > 10_000n)
})

test('a function faults at its own place, and goes on there', () => {
  const both = withFunctions(
    `li s1, 600; li s5, ${DATA}
  next: andi t0, s1, 15; sltiu t0, t0, 1; slli t0, t0, 40; add a0, s5, t0
    jalr ra, 0(s2); add a2, a2, a1; addi s1, s1, -1; bnez s1, next; li s11, ${DATA - 0x1000}; ecall`.replace(
      'li s1',
      `li s11, ${DATA + 0x8_0000}; li s1`,
    ),
    ['addi a3, a3, 1; ld a1, 0(a0); addi a1, a1, 3; sd a1, 8(a0); addi a3, a3, 1; ret'],
  ).finish(89n)
  assert.ok(both.counts.takenIn > 0)
})

// Not the place of the program in the cache of fetches.
const V = 0x4000_3000n
const LEAVES = TABLES + 0x3000
const LEAF = pteAddress(LEAVES, V, 0)

test('what a page table says at a call decides, and what it says at the return', () => {
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; li s0, ${V}; ${enter('S')}
     li s1, 1200; li s2, ${LEAF}; li s3, ${pte(DATA, RX)}; li s4, ${pte(DATA, RX) ^ pte(DATA + 0x1000, RX)}
  loop: jalr ra, 0(s0); andi t0, s1, 63; bnez t0, 1f; xor s3, s3, s4; sd s3, 0(s2)
  1: addi s1, s1, -1; bnez s1, loop
     ecall`,
  )
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam()
    space.map(V, DATA, RX)
    put(program, DATA, 'addi a0, a0, 1; ret')
    put(program, DATA + 0x1000, 'addi a1, a1, 1; ret')
  })
  both.finish(83n)
  assert.ok(both.counts.takenIn > 0)
  assert.ok(both.translated.x(10) > 500n && both.translated.x(11) > 500n)
})

test('a function that takes the page of its caller away comes back to the page that has come', () => {
  const CALLEE = V + 0x5000n
  const caller = (add: number): string =>
    `1: jalr ra, 0(s5); addi a0, a0, ${add}; addi s1, s1, -1; bnez s1, 1b; ecall`
  for (const swap of [
    'sd s3, 0(s2); xor s3, s3, s4; ret',
    'xor s3, s3, s4; mv t0, ra; sd s3, 0(s2); jr t0',
  ]) {
    const both = new BothWays(
      nodeEngine,
      `${OPEN_PMP}; ${useTables()}; li s0, ${V}; ${enter('S')}
       li s1, 900; li s2, ${LEAF}; li s3, ${pte(DATA + 0x1000, RX)}; li s5, ${CALLEE}
       li s4, ${pte(DATA, RX) ^ pte(DATA + 0x1000, RX)}; jalr t1, 0(s0)`,
    )
    both.each((program) => {
      const space = new AddressSpace(program.machine)
      space.mapRam()
      space.map(V, DATA, RX)
      space.map(CALLEE, DATA + 0x2000, RX)
      put(program, DATA, caller(1))
      put(program, DATA + 0x1000, caller(1000))
      put(program, DATA + 0x2000, swap)
    })
    both.finish(97n)
    assert.ok(both.translated.x(10) > 400_000n)
  }
})

test('an atomic of the caller that takes its own page away, in front of the call', () => {
  const CALLEE = V + 0x5000n
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; li s0, ${V}; ${enter('S')}
     li s1, 900; li s2, ${LEAF}; li s3, ${pte(DATA + 0x1000, RX)}; li s5, ${CALLEE}
     li s4, ${pte(DATA, RX)}; jalr t1, 0(s0)`,
  )
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam()
    space.map(V, DATA, RX)
    space.map(CALLEE, DATA + 0x2000, RX)
    for (const [i, add] of [1, 1000].entries())
      put(
        program,
        DATA + i * 0x1000,
        `1: andi t0, s1, 7; bnez t0, 2f; amoswap.d s3, s3, (s2)
         2: jalr ra, 0(s5); addi a0, a0, ${add}; addi s1, s1, -1; bnez s1, 1b; ecall`,
      )
    put(program, DATA + 0x2000, 'addi a1, a1, 1; ret')
  })
  both.finish(97n)
  assert.ok(both.counts.takenIn > 0)
})

test('a page that loses its place in the predecoded code and changes meanwhile', () => {
  const pages = 1100
  const far = DATA + 0x10_0000
  const both = new BothWays(
    nodeEngine,
    `li s2, ${functionAt(0)}; li s7, 3
  again: li s1, 400
  next: jalr ra, 0(s2); addi s1, s1, -1; bnez s1, next
     li s3, ${far}; li s4, ${pages}; li s6, 0x1000
  each: jalr ra, 0(s3); add s3, s3, s6; addi s4, s4, -1; bnez s4, each
     lw t0, 0(s2); li t1, 0x100000; add t0, t0, t1; sw t0, 0(s2)
     addi s7, s7, -1; bnez s7, again; ecall`,
    { ramBytes: 16 << 20 },
  )
  both.each((program) => {
    put(program, functionAt(0), 'addi a0, a0, 1; ret')
    for (let i = 0; i < pages; i++) put(program, far + i * 4096, 'ret')
  })
  both.finish(997n)
  assert.ok(both.counts.takenIn > 0)
  assert.equal(both.translated.x(10), 400n * 6n)
})

test('a hot call of a small function is not looked up by chain any more', () => {
  const lookedUp = (body: string, warmUp: bigint) => {
    const program = new Program(
      nodeEngine,
      `li s1, 100000000; li s2, ${functionAt(0)}; next: jalr ra, 0(s2); addi s1, s1, -1; bnez s1, next`,
      { translation: 'hot' },
    )
    put(program, functionAt(0), body)
    program.machine.run(warmUp)
    const before = program.machine.statistics().unknownJumps
    program.machine.run(program.machine.position + 10_000_000n)
    return program.machine.statistics().unknownJumps - before
  }
  assert.ok(lookedUp('addi a0, a0, 1; ret', 300_000_000n) < 100)
  assert.ok(lookedUp('1: bltz a0, 1b; ret', 5_000_000n) > 1_000_000, 'what is not small is')
})
