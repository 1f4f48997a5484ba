/**
 * From instruction words to ops and operands. 32-bit words are looked up by opcode, funct3 and funct7, which
 * leaves one candidate for nearly every instruction; the 65536 compressed ones are expanded once each, when
 * first met.
 */
import { matchCompressed, type Source } from './compressed.ts'
import { type Format, instructions } from './instructions.ts'
import { extractField } from './pattern.ts'

/** A decoded instruction. Fields that the instruction does not have are zero. */
export interface Decoded {
  /** Index in `instructions`; a compressed instruction has the op of its expansion. */
  op: number
  /** Bytes: 2 or 4. */
  length: number
  /** Register numbers. */
  rd: number
  /** Of csrrwi, csrrsi and csrrci the 5-bit unsigned number. */
  rs1: number
  rs2: number
  rs3: number
  /**
   * Signed 32-bit. Of lui and auipc the number with its twelve low zero bits; of branches and jumps the
   * distance in bytes; of shifts the amount; of csr instructions the csr's number; of fence the bits fm,
   * pred, succ.
   */
  imm: number
  /** The rounding mode as encoded, 0..7; 5 and 6 are reserved, and refused when they are executed. */
  rm: number
}

/** A Decoded to be filled by `decode`. */
export function emptyDecoded(): Decoded {
  return { op: 0, length: 4, rd: 0, rs1: 0, rs2: 0, rs3: 0, imm: 0, rm: 0 }
}

/** Immediates of these formats differ in more than their masks. */
const formatNumber: Readonly<Record<Format, number>> = {
  R: 0,
  R4: 0,
  I: 1,
  shift: 2,
  unsigned: 3,
  S: 4,
  B: 5,
  U: 6,
  J: 7,
}

const matchOf = Int32Array.from(instructions, ({ pattern }) => pattern.match)
const maskOf = Int32Array.from(instructions, ({ pattern }) => pattern.mask)
const formatOf = Uint8Array.from(instructions, ({ format }) => formatNumber[format])
const rdMask = fieldMask('rd', 31)
const rs1Mask = fieldMask('rs1', 31)
const rs2Mask = fieldMask('rs2', 31)
const rs3Mask = fieldMask('rs3', 31)
const rmMask = fieldMask('rm', 7)

function fieldMask(name: string, mask: number): Uint8Array {
  return Uint8Array.from(instructions, ({ pattern }) => {
    return pattern.fields.some((field) => field.name === name) ? mask : 0
  })
}

/**
 * Bucket b of the candidates is bucketOps[bucketStart[b]] up to bucketOps[bucketStart[b + 1]], in table
 * order.
 */
const bucketStart = new Uint16Array((1 << 15) + 1)
const bucketOps = fillBuckets()

/** The bits that choose the bucket: funct7, funct3, and the opcode without its two low bits. */
function bucketOf(word: number): number {
  return ((word >>> 25) << 8) | (((word >>> 12) & 7) << 5) | ((word >>> 2) & 31)
}

function fillBuckets(): Uint16Array {
  const buckets: number[][] = Array.from({ length: 1 << 15 }, () => [])
  for (const { op, pattern } of instructions) {
    const key = bucketOf(pattern.match)
    const free = bucketOf(~pattern.mask)
    // Counts through all values of the free bits: subtracting `free` carries over the bits that are not free.
    let bits = 0
    do {
      buckets[key | bits]!.push(op)
      bits = (bits - free) & free
    } while (bits !== 0)
  }
  let start = 0
  for (const [bucket, ops] of buckets.entries()) {
    bucketStart[bucket] = start
    start += ops.length
  }
  bucketStart[1 << 15] = start
  return Uint16Array.from(buckets.flat())
}

/**
 * Decodes the instruction at the start of `word`, the 32 bits at the pc; if its low two bits are not both
 * set, only the low 16 bits count. Fills `out` and returns true; an illegal or reserved encoding returns
 * false and leaves it undefined.
 */
export function decode(word: number, out: Decoded): boolean {
  if ((word & 3) !== 3) return decodeCompressed(word & 0xffff, out)
  const bucket = bucketOf(word)
  const end = bucketStart[bucket + 1]!
  for (let index = bucketStart[bucket]!; index < end; index++) {
    const op = bucketOps[index]!
    if ((word & maskOf[op]!) !== matchOf[op]!) continue
    out.op = op
    out.length = 4
    out.rd = (word >>> 7) & rdMask[op]!
    out.rs1 = (word >>> 15) & rs1Mask[op]!
    out.rs2 = (word >>> 20) & rs2Mask[op]!
    out.rs3 = (word >>> 27) & rs3Mask[op]!
    out.rm = (word >>> 12) & rmMask[op]!
    out.imm = immediate(formatOf[op]!, word)
    return true
  }
  return false
}

function immediate(format: number, word: number): number {
  switch (format) {
    case 1:
      return word >> 20
    case 2:
      return (word >>> 20) & 63
    case 3:
      return word >>> 20
    case 4:
      return ((word >> 25) << 5) | ((word >>> 7) & 31)
    case 5:
      return ((word >> 31) << 12) | ((word & 0x80) << 4) | ((word >>> 20) & 0x7e0) | ((word >>> 7) & 0x1e)
    case 6:
      return word & ~0xfff
    case 7:
      return ((word >> 31) << 20) | (word & 0xff000) | ((word >>> 9) & 0x800) | ((word >>> 20) & 0x7fe)
    default:
      return 0
  }
}

/**
 * Expansions by halfword: the op + 1, 0 if not met yet, ILLEGAL; rd, rs1, rs2 in five bits each; the
 * immediate.
 */
const expandedOp = new Uint16Array(1 << 16)
const expandedRegisters = new Uint16Array(1 << 16)
const expandedImmediate = new Int32Array(1 << 16)
const ILLEGAL = 0xffff

function decodeCompressed(halfword: number, out: Decoded): boolean {
  if (expandedOp[halfword] === 0) expand(halfword)
  const op = expandedOp[halfword]!
  if (op === ILLEGAL) return false
  const registers = expandedRegisters[halfword]!
  out.op = op - 1
  out.length = 2
  out.rd = registers >>> 10
  out.rs1 = (registers >>> 5) & 31
  out.rs2 = registers & 31
  out.rs3 = 0
  out.rm = 0
  out.imm = expandedImmediate[halfword]!
  return true
}

function expand(halfword: number): void {
  const found = matchCompressed(halfword)
  if (!found) {
    expandedOp[halfword] = ILLEGAL
    return
  }
  const { rd, rs1, rs2, imm } = found.sources
  expandedOp[halfword] = found.expansion.op + 1
  expandedRegisters[halfword] =
    (operandValue(rd, halfword) << 10) | (operandValue(rs1, halfword) << 5) | operandValue(rs2, halfword)
  expandedImmediate[halfword] = operandValue(imm, halfword)
}

function operandValue(source: Source | undefined, halfword: number): number {
  if (!source) return 0
  return 'value' in source ? source.value : extractField(source.field, halfword)
}
