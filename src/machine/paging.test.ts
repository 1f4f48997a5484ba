import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { MSTATUS, RAM_BASE } from './layout.ts'
import { AddressSpace, PTE, pte, pteAddress, RW, RX, useTables } from './testing/address_space.ts'
import { DATA, enter, OPEN_PMP, Program, type ProgramOptions, TABLES } from './testing/program.ts'

const V = 0x4000_0000n
const [PAGE_A, PAGE_B, PAGE_C] = [DATA, DATA + 0x1000, DATA + 0x2000]

/** A program in S-mode with RAM mapped where it is and what `layOut` maps, s1 = V; ends at its ecall. */
function run(
  source: string,
  layOut: (space: AddressSpace, program: Program) => void,
  options: ProgramOptions & { readonly mode?: 'sv39' | 'sv48' } = {},
): Program {
  const mode = options.mode ?? 'sv39'
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; ${useTables(mode)}; li s1, ${V}; ${enter('S')}; ${source}`,
    options,
  )
  const space = new AddressSpace(program.machine, mode)
  space.mapRam()
  layOut(space, program)
  fillPages(program)
  return program.finish()
}

/** Each of the three pages begins with its own number. */
function fillPages({ machine }: Program): void {
  ;[PAGE_A, PAGE_B, PAGE_C].forEach((page, i) => {
    machine.ram.store32(page, 0xa + i)
  })
}

const faults = (program: Program): [bigint, bigint][] =>
  program.traps().map(({ cause, tval }) => [cause, tval])
const registers = (program: Program, ...numbers: number[]): bigint[] => numbers.map((n) => program.x(n))
/** Assembly that stores the PTE for `pa` at address `at`. */
const storePte = (at: number, pa: number, flags: number): string =>
  `li t1, ${at}; li t2, ${pte(pa, flags)}; sd t2, 0(t1)`

test('Sv39 and Sv48 translate pages of every size', () => {
  for (const mode of ['sv39', 'sv48'] as const) {
    const program = run(
      'lw a0, 0(s1); li t0, 0x80100000; lw a1, 0(t0); li t0, 0xc0101000; lw a2, 0(t0)',
      (space) => {
        space.map(V, PAGE_A, RW)
        space.map(0xc000_0000n, RAM_BASE, RW, 2)
      },
      { mode },
    )
    assert.deepEqual(registers(program, 10, 11, 12), [0xan, 0xan, 0xbn], mode)
  }
})

test('Sv48 maps terapages and tells apart what Sv39 cannot', () => {
  const far = 1n << 46n
  const program = run(
    `li t0, ${far}; lw a0, 0(t0); li t0, ${far + (1n << 39n) + BigInt(PAGE_B)}; lw a1, 0(t0)
     li t0, ${1n << 47n}; lw a2, 0(t0)`,
    (space) => {
      space.map(far, PAGE_A, RW)
      space.map(far + (1n << 39n), 0, RW, 3)
    },
    { mode: 'sv48' },
  )
  assert.deepEqual(registers(program, 10, 11), [0xan, 0xbn])
  assert.deepEqual(faults(program), [[13n, 1n << 47n]], 'not the sign extension of its low 48 bits')
})

test('addresses that are no sign extension fault', () => {
  const program = run(
    `li t0, ${1n << 38n}; lw a0, 0(t0); sw a0, 0(t0); jalr ra, 0(t0); li t0, ${(1n << 64n) - 4096n}; lw a0, 0(t0)`,
    (space) => {
      space.map((1n << 64n) - 4096n, PAGE_A, RW)
    },
  )
  assert.deepEqual(program.causes(), [13n, 15n, 12n])
  assert.equal(program.x(10), 0xan)
})

test('what makes a PTE invalid makes the access fault', () => {
  const broken: [string, number, number][] = [
    ['V=0', PAGE_A, RW & ~PTE.v],
    ['W without R', PAGE_A, RW & ~PTE.r],
    ['A=0 (Svade)', PAGE_A, RW & ~PTE.a],
    ['U=1 without SUM', PAGE_A, RW | PTE.u],
    ['a pointer at the last level', PAGE_A, PTE.v],
    ['a reserved bit', PAGE_A + 2 ** 56, RW],
  ]
  for (const [name, pa, flags] of broken) {
    const program = run('lw a0, 0(s1)', (space) => void space.map(V, pa, flags))
    assert.deepEqual(faults(program), [[13n, V]], name)
  }
})

test('a superpage that is not aligned faults; so does a pointer with A, D or U set', () => {
  assert.deepEqual(run('lw a0, 0(s1)', (space) => void space.map(V, PAGE_A, RW, 1)).causes(), [13n])
  for (const bit of [PTE.a, PTE.d, PTE.u]) {
    const program = run('lw a0, 0(s1)', (space) => {
      space.map(V, PAGE_A, RW)
      const root = pteAddress(space.root, V, 2)
      const table = Number((space.machine.ram.load64(root) >> 10n) << 12n)
      space.setPte(root, table, PTE.v | bit)
    })
    assert.deepEqual(program.causes(), [13n])
  }
})

test('a store needs D, and a load does not (Svade)', () => {
  const program = run(
    'lw a0, 0(s1); sw a0, 0(s1); lw a1, 0(s1)',
    (space) => void space.map(V, PAGE_A, RW & ~PTE.d),
  )
  assert.deepEqual(faults(program), [[15n, V]])
  assert.equal(program.machine.ram.load64(findPte(V)) & 0xc0n, 0x40n, 'hardware sets neither')
})

/** The address of the last-level PTE of a page mapped first behind RAM, as AddressSpace lays tables out. */
function findPte(va: bigint): number {
  return pteAddress(TABLES + 3 * 4096, va, 0)
}

test('MXR makes executable pages readable, SUM opens pages of users', () => {
  const source = (bit: number) =>
    `lw a0, 0(s1); li t0, ${bit}; csrs sstatus, t0; lw a1, 0(s1); csrc sstatus, t0; lw a2, 0(s1)`
  const execute = run(source(1 << 19), (space) => void space.map(V, PAGE_A, RX & ~PTE.r))
  const user = run(source(1 << 18), (space) => void space.map(V, PAGE_A, RW | PTE.u))
  for (const program of [execute, user]) {
    assert.deepEqual(program.causes(), [13n, 13n])
    assert.equal(program.x(11), 0xan)
  }
})

test('S-mode never executes pages of users, SUM or not', () => {
  const program = run('li t0, 1 << 18; csrs sstatus, t0; jalr ra, 0(s1)', (space) => {
    space.map(V, PAGE_A, RX | PTE.u)
  })
  assert.deepEqual(faults(program), [[12n, V]])
})

test('a table outside of RAM gives an access fault', () => {
  const program = run('lw a0, 0(s1)', (space) => space.setPte(pteAddress(space.root, V, 2), 0x1000, PTE.v))
  assert.deepEqual(program.causes(), [5n])
})

test('misaligned accesses cross into another page, wherever it is', () => {
  const program = run(
    `li t0, 0x1122334455667788
     li s2, ${V + 0x1000n}
     sd t0, -3(s2)
     ld a0, -3(s2)
     sw t0, -1(s2)
     lw a1, -1(s2)
     sh t0, -1(s2)
     lh a2, -1(s2)
     lhu a3, -1(s2)`,
    (space) => {
      space.map(V, PAGE_C, RW)
      space.map(V + 0x1000n, PAGE_A, RW)
    },
  )
  assert.deepEqual(registers(program, 10, 11, 12, 13), [0x1122334455667788n, 0x55667788n, 0x7788n, 0x7788n])
  assert.equal(program.machine.ram.load16(PAGE_A), 0x6677)
  assert.deepEqual(program.causes(), [])
})

test('a misaligned access that faults on its second page does nothing and names that page', () => {
  const program = run(
    `li s2, ${V + 0x1000n}; li t0, -1; li a0, 5; sd t0, -3(s2); ld a0, -3(s2); lw a1, -4(s2)
     li s2, ${V}; sd t0, -5(s2)`,
    (space) => {
      space.map(V, PAGE_A, RW)
    },
  )
  assert.deepEqual(faults(program), [
    [15n, V + 0x1000n],
    [13n, V + 0x1000n],
    [15n, V - 5n],
  ])
  assert.deepEqual(registers(program, 10, 11), [5n, 0n])
})

test('an instruction that crosses into another page is fetched from both', () => {
  const program = run(
    `li t0, ${PAGE_A + 0xffe}; li t1, 0x0513; sh t1, 0(t0)      # addi a0, a0, 1: 0x00150513
     li t0, ${PAGE_C}; li t1, 0x80820015; sw t1, 0(t0)          # second half, then ret
     li t0, ${V + 0xffen}
     jalr ra, 0(t0)
     jalr ra, 0(t0)
     li t3, ${PAGE_C}; li t1, 0x0025; sh t1, 0(t3)              # addi a0, a0, 2
     jalr ra, 0(t0)
     ${storePte(findPte(V + 0x1000n), PAGE_B, RX)}
     li t1, ${PAGE_B}; li t2, 0x80820045; sw t2, 0(t1)          # addi a0, a0, 4
     jalr ra, 0(t0)
     ${storePte(findPte(V + 0x1000n), PAGE_B, 0)}
     jalr ra, 0(t0)`,
    (space) => {
      space.map(V, PAGE_A, RX)
      space.map(V + 0x1000n, PAGE_C, RX)
    },
  )
  assert.equal(program.x(10), 8n)
  const [trap] = program.traps()
  assert.deepEqual(trap, { cause: 12n, epc: V + 0xffen, tval: V + 0x1000n })
})

test('of instructions that cross into another page each is executed as what it is, however many there are', () => {
  // addi a0, a0, n for n from 1 to 300, twice: more than are remembered in their decoded form.
  const program = run(
    `li t0, ${PAGE_A + 0xffe}; li t1, 0x0513; sh t1, 0(t0)
     li t0, ${PAGE_C}; li t1, 0x80820015; sw t1, 0(t0)
     li t0, ${V + 0xffen}
     li s2, 2
   again:
     li s3, 1
   next:
     slli t1, s3, 4; ori t1, t1, 5; li t3, ${PAGE_C}; sh t1, 0(t3)
     jalr ra, 0(t0)
     addi s3, s3, 1
     li t4, 301
     bne s3, t4, next
     addi s2, s2, -1
     bnez s2, again`,
    (space) => {
      space.map(V, PAGE_A, RX)
      space.map(V + 0x1000n, PAGE_C, RX)
    },
  )
  assert.equal(program.x(10), BigInt(300 * 301))
})

/** Which of load, store and fetch the specification refuses for a page with these flags. */
function refused(flags: number, mode: 'S' | 'U', isSum: boolean, isMxr: boolean): bigint[] {
  const has = (bits: number): boolean => (flags & bits) !== 0
  const isLeaf = has(PTE.v) && has(PTE.r | PTE.x) && !(has(PTE.w) && !has(PTE.r)) && has(PTE.a)
  const isOpen = (isFetch: boolean): boolean =>
    isLeaf && (mode === 'U' ? has(PTE.u) : !has(PTE.u) || (isSum && !isFetch))
  const allowed: [bigint, boolean][] = [
    [13n, isOpen(false) && has(isMxr ? PTE.r | PTE.x : PTE.r)],
    [15n, isOpen(false) && has(PTE.w) && has(PTE.d)],
    [12n, isOpen(true) && has(PTE.x)],
  ]
  return allowed.filter(([, isAllowed]) => !isAllowed).map(([cause]) => cause)
}

test('pages with all 256 combinations of flags have the rights that the specification gives them', () => {
  const RETURN = 0x0000_8067
  const accesses = `
      li s3, ${RETURN}
      li s2, ${V + 256n * 4096n}
    1: lw t1, 0(s1); sw s3, 0(s1); jalr ra, 0(s1)
      li t1, 4096; add s1, s1, t1
      bne s1, s2, 1b`
  for (const mode of ['S', 'U'] as const) {
    for (const bits of [0, MSTATUS.sum, MSTATUS.mxr, MSTATUS.sum | MSTATUS.mxr]) {
      const setUp = `${OPEN_PMP}; ${useTables()}; li s1, ${V}; li t0, ${bits}; csrs mstatus, t0; ${enter(mode)}`
      const program = new Program(nodeEngine, `${setUp}; ${accesses}`)
      const space = new AddressSpace(program.machine)
      space.mapRam(RW | PTE.x | (mode === 'U' ? PTE.u : 0))
      program.machine.ram.store32(PAGE_A, RETURN)
      const expected: [bigint, bigint][] = []
      for (let flags = 0; flags < 256; flags++) {
        const va = V + BigInt(flags * 4096)
        space.map(va, PAGE_A, flags)
        const [isSum, isMxr] = [(bits & MSTATUS.sum) !== 0, (bits & MSTATUS.mxr) !== 0]
        for (const cause of refused(flags, mode, isSum, isMxr)) expected.push([cause, va])
      }
      assert.deepEqual(faults(program.finish()), expected, `${mode}, mstatus 0x${bits.toString(16)}`)
    }
  }
})
