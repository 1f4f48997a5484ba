import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { assemble } from './assemble.ts'
import { csrName, csrNumber } from './csr.ts'
import { decode, emptyDecoded } from './decode.ts'
import { disassemble } from './disassemble.ts'
import { instructions } from './instructions.ts'

function bytesOf(source: string, base = 0n): number[] {
  return [...assemble(source, base).bytes]
}

function wordsOf(source: string, base = 0n): number[] {
  const { bytes } = assemble(source, base)
  return [...new Uint32Array(bytes.buffer, 0, bytes.length / 4)]
}

/** The programs that `source` stands for, disassembled. */
function meaning(source: string, base = 0n): string[] {
  return wordsOf(source, base).map((word, index) => disassemble(word, base + BigInt(4 * index)))
}

test('every instruction survives disassembling and assembling', () => {
  const pc = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map((value) => value & ~1n)
  const word32 = fc.integer({ min: 0, max: 0xffff_ffff })
  fc.assert(
    fc.property(fc.constantFrom(...instructions), word32, pc, ({ name, pattern }, bits, base) => {
      const keep = name === 'fence' ? 0x0fff_ffff : name === 'fence.i' ? pattern.mask : 0xffff_ffff
      const ignored = name === 'fence' ? 0x000f_8f80 : 0
      const word = (((bits & ~pattern.mask) | pattern.match) & keep & ~ignored) >>> 0
      assert.deepEqual(wordsOf(disassemble(word, base), base), [word])
    }),
    { numRuns: 10_000 },
  )
})

test('every halfword survives disassembling and assembling', () => {
  const lines: string[] = []
  const halfwords: number[] = []
  for (let halfword = 0; halfword < 1 << 16; halfword++) {
    if ((halfword & 3) === 3) continue
    lines.push(disassemble(halfword, BigInt(2 * halfwords.length)))
    halfwords.push(halfword)
  }
  const { bytes } = assemble(lines.join('\n'), 0n)
  assert.deepEqual(new Uint16Array(bytes.buffer), Uint16Array.from(halfwords))
})

/** Runs the instructions that li makes. */
function loaded(source: string): bigint {
  const registers = new Array<bigint>(32).fill(0n)
  const out = emptyDecoded()
  for (const word of wordsOf(source)) {
    assert.ok(decode(word, out))
    const { name } = instructions[out.op]!
    const value = registers[out.rs1]!
    const imm = BigInt(out.imm)
    if (name === 'lui') registers[out.rd] = imm
    else if (name === 'addi') registers[out.rd] = BigInt.asIntN(64, value + imm)
    else if (name === 'addiw') registers[out.rd] = BigInt.asIntN(32, value + imm)
    else if (name === 'slli') registers[out.rd] = BigInt.asIntN(64, value << imm)
    else assert.fail(`li uses ${name}`)
  }
  return registers[10]!
}

test('li loads any 64-bit constant in at most eight instructions', () => {
  const near = fc.tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: -4097, max: 4097 }))
  const edges = near.map(([shift, offset]) => (1n << BigInt(shift)) + BigInt(offset))
  const any = fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n })
  fc.assert(
    fc.property(fc.oneof(edges, any), (value) => {
      const source = `li a0, ${value}`
      assert.equal(loaded(source), BigInt.asIntN(64, value))
      assert.ok(wordsOf(source).length <= 8)
    }),
    { numRuns: 3000 },
  )
})

test('la, call and tail reach their label from any address', () => {
  for (const base of [0n, 0x8000_0000n, 0xffff_ffff_8000_0000n]) {
    const source = `start: la a0, there\n call there\n tail start\n .zero 0xffe\n there: ret`
    const { bytes, labels } = assemble(source, base)
    const view = new DataView(bytes.buffer)
    for (const [at, name] of [
      [0, 'there'],
      [8, 'there'],
      [16, 'start'],
    ] as const) {
      const high = emptyDecoded()
      const low = emptyDecoded()
      assert.ok(decode(view.getUint32(at, true), high) && decode(view.getUint32(at + 4, true), low))
      assert.equal(base + BigInt(at + high.imm + low.imm), labels.get(name))
    }
  }
})

test('labels, numbered labels and the dot resolve', () => {
  const source = `
    1:    nop                 # the first 1
    loop: j 1b
          j 1f
    1:    bnez a0, loop; j .
          j . + 8             // forwards
  `
  assert.deepEqual(meaning(source, 0x1000n), [
    'addi zero,zero,0',
    'jal zero,0x1000',
    'jal zero,0x100c',
    'bne a0,zero,0x1004',
    'jal zero,0x1010',
    'jal zero,0x101c',
  ])
})

test('data directives lay out bytes', () => {
  assert.deepEqual(bytesOf('.byte 1, -1, 0xff\n.align 2\n.half 0x1234'), [1, 255, 255, 0, 0x34, 0x12])
  assert.deepEqual(bytesOf('.dword 0x0102030405060708, -1'), [8, 7, 6, 5, 4, 3, 2, 1, ...Array(8).fill(255)])
  assert.deepEqual(bytesOf('.ascii "a;#\\n,"\n.asciz "b"'), [...Buffer.from('a;#\n,b\0')])
  assert.deepEqual(bytesOf('.equ size, 3\n.zero size\n.byte size'), [0, 0, 0, 3])
  assert.deepEqual(bytesOf('.word end - start\nstart: .zero 6\nend:').slice(0, 4), [6, 0, 0, 0])
})

test('expressions bind as in C', () => {
  assert.deepEqual(
    bytesOf(".byte 1 + 2 * 3, (1 + 2) * 3, 1 << 4 | 3, ~0 & 0x0f, -7 / 2, 'a' + 1"),
    [7, 9, 19, 15, 253, 98],
  )
})

test('operands are read in every syntax of the tables', () => {
  const source = `
    amoadd.w.aqrl a0, a1, (a2)
    lr.d.aq a0, 0(a2)
    fadd.s fa0, f1, ft2, rtz
    fmadd.d fa0, fa1, fa2, fa3
    fcvt.d.w fa0, a1
    csrrw a0, mstatus, a1
    csrwi 0x7c0, 5
    fence rw, w
    sd ra, -8(sp)
    lw a0, (s0)
    lui t0, 0xfffff
    jalr t0
  `
  assert.deepEqual(meaning(source), [
    'amoadd.w.aqrl a0,a1,(a2)',
    'lr.d.aq a0,(a2)',
    'fadd.s fa0,ft1,ft2,rtz',
    'fmadd.d fa0,fa1,fa2,fa3',
    'fcvt.d.w fa0,a1',
    'csrrw a0,mstatus,a1',
    'csrrwi zero,0x7c0,5',
    'fence rw,w',
    'sd ra,-8(sp)',
    'lw a0,0(s0)',
    'lui t0,0xfffff',
    'jalr ra,0(t0)',
  ])
})

test('mistakes name the line and what was expected', () => {
  const mistakes: [string, RegExp][] = [
    ['nop\nfrobnicate a0', /line 2: there is no instruction 'frobnicate'/],
    ['add a0, a1', /line 1: add takes the operands rd, rs1, rs2/],
    ['add a0, a1, fa2', /expected rs2, found 'fa2'/],
    ['j nowhere', /no label 'nowhere'/],
    ['x: nop\nx: nop', /line 2: the label 'x' is defined twice/],
    ['addi a0, a0, 5000', /imm cannot be 5000/],
    ['beq a0, a1, . + 8192', /imm cannot be 8192/],
    ['.byte 256', /256 does not fit into 1 bytes/],
    ['.frob 1', /no directive '.frob'/],
    ['li a0, later\nlater:', /no label 'later'/],
    ['c.lui sp, 1', /c.lui: rd cannot be 2/],
    ['.word 1 +', /cannot understand the expression/],
    ['.zero 1 << 40', /cannot reserve/],
    ['add.aq a0, a1, a2', /no instruction 'add.aq'/],
  ]
  for (const [source, message] of mistakes) assert.throws(() => assemble(source, 0n), message, source)
})

test('csr names and numbers agree', () => {
  assert.equal(csrNumber('stimecmp'), 0x14d)
  assert.equal(csrNumber('mhpmcounter31'), 0xb1f)
  assert.equal(csrName(0xc1f), 'hpmcounter31')
  assert.equal(csrName(0x3ef), 'pmpaddr63')
  assert.equal(csrName(0x7a3), 'tdata3')
  assert.equal(csrName(0x600), undefined)
  for (let number = 0; number < 4096; number++) {
    const name = csrName(number)
    if (name !== undefined) assert.equal(csrNumber(name), number)
  }
})
