/**
 * A block under construction: random instructions that follow each other in memory. Generators write through this
 * class, so that no instruction overwrites a register that the harness, a loop or an address still needs.
 */
import { assert } from '../../src/base/assert.ts'
import type { Random } from '../../src/base/prng.ts'
import { assemble } from '../../src/isa/assemble.ts'
import { encode } from '../../src/isa/encode.ts'
import type { FieldValues } from '../../src/isa/pattern.ts'
import { loadConstant } from '../../src/isa/pseudo.ts'
import type { HarnessRegisters } from './harness.ts'
import { DATA, RAM, RETURN_PAGE } from './layout.ts'

/** The privilege a block runs in. */
export type Level = 'machine' | 'supervisor' | 'user'

export class Body {
  readonly random: Random
  readonly level: Level
  /** Physical address of the first instruction. */
  readonly start: number
  /** Instructions written so far. */
  count = 0
  /** Physical address of the instruction written last. */
  last = 0
  readonly #harness: HarnessRegisters
  readonly #kept = new Set<number>()
  readonly #bytes: number[] = []

  constructor(random: Random, level: Level, start: number, harness: HarnessRegisters) {
    this.random = random
    this.level = level
    this.start = start
    this.#harness = harness
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }

  /** Physical address of the next instruction. */
  get here(): number {
    return this.start + this.#bytes.length
  }

  /** Appends an instruction of the tables. */
  emit(name: string, values: FieldValues): void {
    const word = encode(name, values)
    this.append(word, (word & 3) === 3 ? 4 : 2)
  }

  /** Appends an instruction word as it is. */
  append(word: number, size: 2 | 4): void {
    this.last = this.here
    for (let at = 0; at < size; at++) this.#bytes.push((word >>> (8 * at)) & 0xff)
    this.count++
  }

  /** Appends assembly text. */
  text(source: string): void {
    const { bytes } = assemble(source, BigInt(this.here))
    for (let at = 0; at < bytes.length; ) {
      const size = (bytes[at]! & 3) === 3 ? 4 : 2
      this.last = this.here
      for (const byte of bytes.subarray(at, at + size)) this.#bytes.push(byte)
      this.count++
      at += size
    }
  }

  /** Loads a constant. */
  load(register: number, value: bigint): void {
    this.text(loadConstant(`x${register}`, value).join('\n'))
  }

  /** Patches the instruction at `address`, of the same size as before. */
  patch(address: number, name: string, values: FieldValues): void {
    const word = encode(name, values)
    const at = address - this.start
    const size = (word & 3) === 3 ? 4 : 2
    assert(((this.#bytes[at]! & 3) === 3 ? 4 : 2) === size, 'a patch keeps the size of the instruction')
    for (let index = 0; index < size; index++) this.#bytes[at + index] = (word >>> (8 * index)) & 0xff
  }

  /** Any register, to be read. */
  source(): number {
    return this.random.below(32)
  }

  /** Whether blocks may write this register now. */
  isFree(register: number): boolean {
    return (
      register !== this.#harness.context && register !== this.#harness.scratch && !this.#kept.has(register)
    )
  }

  /** A register that may be written, x0 among them. */
  destination(): number {
    for (;;) {
      const register = this.random.below(32)
      if (this.isFree(register)) return register
    }
  }

  /** A register that may be written, and really changes then; `compressed` asks for x8..x15. */
  variable(compressed = false): number {
    for (;;) {
      const register = compressed ? this.random.between(8, 15) : this.random.between(1, 31)
      if (this.isFree(register)) return register
    }
  }

  /** Runs `write` with a variable that nothing in it overwrites. */
  keeping(write: (register: number) => void, register = this.variable()): void {
    this.#kept.add(register)
    write(register)
    this.#kept.delete(register)
  }

  /** Points `register` to `distance` bytes from the start of the data pages, by an instruction pair. */
  pointTo(register: number, distance: number): void {
    const target = RAM + DATA + distance - this.here
    const low = (target << 20) >> 20
    this.emit('auipc', { rd: register, imm: (target - low) | 0 })
    this.emit('addi', { rd: register, rs1: register, imm: low })
  }

  /** A distance for `pointTo` around a border between data pages, so that offsets in -32..24 stay hot. */
  hotDistance(): number {
    return 0x1000 * this.random.between(1, 3) + this.random.between(-24, 24)
  }

  /** A distance for `pointTo` to one of the return instructions. */
  returnDistance(): number {
    return RETURN_PAGE - DATA + 2 * this.random.below(0x7f0)
  }
}
