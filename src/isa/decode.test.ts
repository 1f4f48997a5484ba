import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compressedInstructions } from './compressed.ts'
import { decode, emptyDecoded } from './decode.ts'
import { disassemble } from './disassemble.ts'
import { encode } from './encode.ts'
import { instructions, opOf, parseTable } from './instructions.ts'
import { extractField, type FieldValues, type Pattern } from './pattern.ts'

const instruction = fc.constantFrom(...instructions)
const word32 = fc.integer({ min: 0, max: 0xffff_ffff })

function decoded(word: number) {
  const out = emptyDecoded()
  assert.ok(decode(word, out), `0x${word.toString(16)} does not decode`)
  return { name: instructions[out.op]!.name, ...out }
}

function fieldsOf(pattern: Pattern, word: number): FieldValues {
  return Object.fromEntries(pattern.fields.map((field) => [field.name, extractField(field, word)]))
}

test('a word made from a line of the table decodes to its op and the fields of its pattern', () => {
  fc.assert(
    fc.property(instruction, word32, ({ op, name, pattern }, bits) => {
      const word = ((bits & ~pattern.mask) | pattern.match) >>> 0
      const { op: found, length, ...rest } = decoded(word)
      assert.equal(found, word === 0x0100_000f ? opOf('pause') : op, name)
      assert.equal(length, 4)
      const { rd, rs1, rs2, rs3, imm, rm } = rest
      const { aq: _aq, rl: _rl, ...fields } = fieldsOf(pattern, word)
      assert.deepEqual(
        { rd, rs1, rs2, rs3, imm, rm },
        { rd: 0, rs1: 0, rs2: 0, rs3: 0, imm: 0, rm: 0, ...fields },
      )
    }),
    { numRuns: 20_000 },
  )
})

test('what decodes encodes to the same word', () => {
  fc.assert(
    fc.property(instruction, word32, ({ name, pattern }, bits) => {
      const word = ((bits & ~pattern.mask) | pattern.match) >>> 0
      const counted = pattern.fields.reduce((mask, field) => {
        return field.pieces.reduce((all, { at, width }) => all | (((1 << width) - 1) << at), mask)
      }, pattern.mask)
      assert.equal(encode(name, fieldsOf(pattern, word)), (word & counted) >>> 0)
    }),
    { numRuns: 5000 },
  )
})

test('a compressed instruction means the same as the instruction it stands for', () => {
  const out = emptyDecoded()
  const expanded = emptyDecoded()
  for (let halfword = 0; halfword < 1 << 16; halfword++) {
    if ((halfword & 3) === 3 || !decode(halfword, out)) continue
    assert.equal(out.length, 2)
    const { name } = instructions[out.op]!
    const word = encode(name, out)
    assert.ok(decode(word, expanded))
    assert.deepEqual({ ...expanded, length: 2 }, out)
  }
})

test('only the low half of a word counts for a compressed instruction', () => {
  const { name, rd, rs1, imm, length } = decoded(0xffff_7139)
  assert.deepEqual({ name, rd, rs1, imm, length }, { name: 'addi', rd: 2, rs1: 2, imm: -64, length: 2 })
})

test('reserved compressed encodings are illegal', () => {
  const reserved = {
    'all zeros': 0x0000,
    'c.addi4spn 0': 0x0004,
    'c.addiw to x0': 0x2005,
    'c.addi16sp 0': 0x6101,
    'c.lui 0': 0x6281,
    'c.lwsp to x0': 0x4002,
    'c.ldsp to x0': 0x6002,
    'c.jr x0': 0x8002,
    'c.subw with funct 10': 0x9c41,
    'quadrant 0, funct3 100': 0x8000,
  }
  for (const [what, halfword] of Object.entries(reserved)) {
    assert.equal(decode(halfword, emptyDecoded()), false, what)
  }
})

test('compressed hints are legal and write x0 or change nothing', () => {
  const hints = {
    'c.nop 5': 0x0015,
    'c.li x0, 1': 0x4005,
    'c.lui x0, 1': 0x6005,
    'c.mv x0, x1': 0x8006,
    'c.add x0, x1': 0x9006,
    'c.slli x0, 1': 0x0006,
  }
  for (const [what, halfword] of Object.entries(hints)) assert.equal(decoded(halfword).rd, 0, what)
  assert.equal(decoded(0x0502).imm, 0, 'c.slli a0, 0')
})

test('pause wins over fence, and fences ignore their reserved fields', () => {
  assert.equal(decoded(0x0100_000f).name, 'pause')
  assert.equal(decoded(0x0100_800f).name, 'fence')
  assert.equal(decoded(0x8330_000f).name, 'fence')
  assert.equal(decoded(0xfff5_178f).name, 'fence.i')
})

test('immediates arrive as the program means them', () => {
  assert.equal(decoded(encode('lui', { rd: 1, imm: -4096 })).imm, -4096)
  assert.equal(decoded(encode('beq', { imm: -4096 })).imm, -4096)
  assert.equal(decoded(encode('jal', { imm: 0xffffe })).imm, 0xffffe)
  assert.equal(decoded(encode('srai', { imm: 63 })).imm, 63)
  assert.equal(decoded(encode('csrrwi', { imm: 0xf14, rs1: 31 })).imm, 0xf14)
  assert.equal(decoded(encode('csrrwi', { imm: 0xf14, rs1: 31 })).rs1, 31)
})

test('reserved rounding modes decode', () => {
  assert.equal(decoded(encode('fadd.s', { rm: 5 })).rm, 5)
})

test('the registers of an instruction name their files', () => {
  assert.deepEqual(instructions[opOf('fsd')]!.registers, { rs2: 'f', rs1: 'x' })
  assert.deepEqual(instructions[opOf('fmadd.d')]!.registers, { rd: 'f', rs1: 'f', rs2: 'f', rs3: 'f' })
  assert.deepEqual(instructions[opOf('csrrwi')]!.registers, { rd: 'x' })
  for (const { name, pattern, registers } of instructions) {
    const numbered = pattern.fields.map((field) => field.name).filter((field) => /^r[ds]/.test(field))
    const zimm = /^csrr.i$/.test(name) ? ['rs1'] : []
    assert.deepEqual([...Object.keys(registers), ...zimm].sort(), numbered.sort(), name)
  }
})

test('a table whose lines overlap is refused', () => {
  const lines = 'one 0000000 rs2 rs1 000 rd 0110011 | I | rd, rs1, rs2\n'
  const clash = 'two 0------ rs2 rs1 000 rd 0110011 | I | rd, rs1, rs2\n'
  assert.throws(() => parseTable(lines + clash), /encodings of one and two overlap/)
})

test('an operand that does not fit is refused', () => {
  assert.throws(() => encode('addi', { imm: 2048 }), /addi: imm cannot be 2048/)
  assert.throws(() => encode('beq', { imm: 3 }), /beq: imm cannot be 3/)
  assert.throws(() => encode('c.lw', { rd: 3, rs1: 8 }), /c.lw: rd cannot be 3/)
  assert.throws(() => encode('c.addi16sp', {}), /c.addi16sp: imm cannot be 0/)
  assert.throws(() => encode('frobnicate', {}), /no instruction 'frobnicate'/)
})

test('encodings longer than 32 bits are illegal', () => {
  fc.assert(fc.property(word32, (bits) => decode(bits | 0x1f, emptyDecoded()) === false))
})

test('every compressed line is met by some halfword', () => {
  const met = new Set<string>()
  for (let halfword = 0; halfword < 1 << 16; halfword++) {
    if ((halfword & 3) !== 3) met.add(disassemble(halfword).split(' ')[0]!)
  }
  for (const { name } of compressedInstructions) assert.ok(met.has(name), name)
})
