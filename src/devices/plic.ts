/**
 * The platform-level interrupt controller, as the RISC-V PLIC specification 1.0.0 and SiFive's memory map
 * have it.
 *
 * Every source passes a gateway with three bits: the wire's level, *pending* (waiting to be claimed) and
 * *claimed* (being served).
 *
 *     level rises, not claimed            -> pending
 *     claim                               -> claimed, no longer pending
 *     complete, wire still high           -> pending again
 *     wire falls while pending            -> stays pending: the request was accepted
 *
 * Contexts are numbered hart 0 M, hart 0 S, hart 1 M, hart 1 S and so on. Registers are 32 bits wide;
 * narrower accesses read as zero and write nothing.
 *
 *     0x000000 + 4 x source             priority, 0 (never) to 7
 *     0x001000 + 4 x word               pending bits, read only
 *     0x002000 + 0x80 x context         enable bits
 *     0x200000 + 0x1000 x context       threshold; at +4 claim (read) and complete (write)
 */
import { assert } from '../base/assert.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device, InterruptLine } from '../machine/device.ts'
import { loadBytes, loadWords, saveWords } from './fields.ts'

const PENDING_BASE = 0x1000
const ENABLE_BASE = 0x2000
const ENABLE_STRIDE = 0x80
const CONTEXT_BASE = 0x20_0000
const CONTEXT_STRIDE = 0x1000
const PRIORITY_MASK = 7
const WORDS = 3
const SOURCES_MAX = 32 * WORDS - 1

export type PlicMode = 'M' | 'S'

export interface PlicOptions {
  readonly name?: string
  readonly harts: number
  /** The highest source number (`riscv,ndev`), at most 95. Source 0 does not exist. */
  readonly sources: number
  /** The external interrupt wire of a hart's mode. Called when the level may have changed. */
  readonly line: (hart: number, mode: PlicMode, level: boolean) => void
}

export class Plic implements Device {
  readonly name: string
  readonly #sources: number
  readonly #contexts: number
  readonly #line: PlicOptions['line']
  readonly #priority: Uint8Array
  readonly #threshold: Uint8Array
  /** Bit `source` of each: word `source >> 5`, bit `source & 31`. */
  readonly #level = new Uint32Array(WORDS)
  readonly #pending = new Uint32Array(WORDS)
  readonly #claimed = new Uint32Array(WORDS)
  /** `WORDS` words for each context. */
  readonly #enable: Uint32Array

  constructor(options: PlicOptions) {
    assert(options.sources >= 1 && options.sources <= SOURCES_MAX, `PLIC with ${options.sources} sources`)
    this.name = options.name ?? 'plic'
    this.#sources = options.sources
    this.#contexts = options.harts * 2
    this.#line = options.line
    this.#priority = new Uint8Array(options.sources + 1)
    this.#threshold = new Uint8Array(this.#contexts)
    this.#enable = new Uint32Array(this.#contexts * WORDS)
  }

  /** The wire that a device pulls to interrupt as source `irq`. */
  source(irq: number): InterruptLine {
    assert(irq >= 1 && irq <= this.#sources, `PLIC source ${irq} does not exist`)
    return (level) => this.#setLevel(irq, level)
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 4) return 0
    if (offset < PENDING_BASE) return this.#priority[offset >> 2] ?? 0
    if (offset < ENABLE_BASE) return this.#pending[(offset - PENDING_BASE) >> 2] ?? 0
    if (offset < CONTEXT_BASE) {
      const index = this.#enableIndex(offset)
      return index === undefined ? 0 : this.#enable[index]!
    }
    const context = Math.floor((offset - CONTEXT_BASE) / CONTEXT_STRIDE)
    if (context >= this.#contexts) return 0
    const register = offset % CONTEXT_STRIDE
    if (register === 0) return this.#threshold[context]!
    return register === 4 ? this.#claim(context) : 0
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4) return
    if (offset < PENDING_BASE) this.#setPriority(offset >> 2, value)
    else if (offset >= CONTEXT_BASE) this.#writeContext(offset, value)
    else if (offset >= ENABLE_BASE) this.#setEnable(offset, value)
  }

  /**
   * Forgets everything but the wires, which belong to the devices. A board resets all devices together, in
   * any order, and their lines fall; therefore a wire that is still high now does not pend again.
   */
  reset(): void {
    for (const bytes of [this.#priority, this.#threshold]) bytes.fill(0)
    for (const words of [this.#pending, this.#claimed, this.#enable]) words.fill(0)
    this.#update()
  }

  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => {
      writer.bytes('priority', this.#priority)
      writer.bytes('threshold', this.#threshold)
      saveWords(writer, 'level', this.#level)
      saveWords(writer, 'pending', this.#pending)
      saveWords(writer, 'claimed', this.#claimed)
      saveWords(writer, 'enable', this.#enable)
    })
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {
      loadBytes(reader, 'priority', this.#priority)
      loadBytes(reader, 'threshold', this.#threshold)
      loadWords(reader, 'level', this.#level)
      loadWords(reader, 'pending', this.#pending)
      loadWords(reader, 'claimed', this.#claimed)
      loadWords(reader, 'enable', this.#enable)
    })
    this.#update()
  }

  #setLevel(irq: number, level: boolean): void {
    const word = irq >> 5
    const bit = 1 << (irq & 31)
    if (level === ((this.#level[word]! & bit) !== 0)) return
    this.#level[word]! ^= bit
    if (!level || (this.#claimed[word]! & bit) !== 0) return
    this.#pending[word]! |= bit
    this.#update()
  }

  #setPriority(irq: number, value: number): void {
    if (irq === 0 || irq > this.#sources) return
    this.#priority[irq] = value & PRIORITY_MASK
    this.#update()
  }

  #setEnable(offset: number, value: number): void {
    const index = this.#enableIndex(offset)
    if (index === undefined) return
    this.#enable[index] = value & this.#existing(index % WORDS)
    this.#update()
  }

  #writeContext(offset: number, value: number): void {
    const context = Math.floor((offset - CONTEXT_BASE) / CONTEXT_STRIDE)
    if (context >= this.#contexts) return
    const register = offset % CONTEXT_STRIDE
    if (register === 0) this.#threshold[context] = value & PRIORITY_MASK
    else if (register === 4) this.#complete(context, value)
    this.#update()
  }

  /** The index into `#enable` of a register, or undefined where there is none. */
  #enableIndex(offset: number): number | undefined {
    const context = Math.floor((offset - ENABLE_BASE) / ENABLE_STRIDE)
    const word = ((offset - ENABLE_BASE) % ENABLE_STRIDE) >> 2
    return context < this.#contexts && word < WORDS ? context * WORDS + word : undefined
  }

  /** The bits of sources that exist in one word. */
  #existing(word: number): number {
    const above = this.#sources + 1 - 32 * word
    const upTo = above >= 32 ? 0xffff_ffff : above <= 0 ? 0 : 2 ** above - 1
    return word === 0 ? upTo & ~1 : upTo
  }

  /** Section 7: the threshold masks the notification, never the claim. */
  #claim(context: number): number {
    const irq = this.#best(context)
    if (irq === 0) return 0
    const bit = 1 << (irq & 31)
    this.#pending[irq >> 5]! &= ~bit
    this.#claimed[irq >> 5]! |= bit
    this.#update()
    return irq
  }

  /** Section 8: a completion of a source that is not enabled for the context is silently ignored. */
  #complete(context: number, irq: number): void {
    if (irq === 0 || irq > this.#sources) return
    const word = irq >> 5
    const bit = 1 << (irq & 31)
    if ((this.#enable[context * WORDS + word]! & this.#claimed[word]! & bit) === 0) return
    this.#claimed[word]! &= ~bit
    this.#pending[word]! |= this.#level[word]! & bit
  }

  /** The pending and enabled source of the highest priority above 0, the lowest number winning; 0 if none. */
  #best(context: number): number {
    let best = 0
    for (let word = 0; word < WORDS; word++) {
      let bits = this.#pending[word]! & this.#enable[context * WORDS + word]!
      while (bits !== 0) {
        const irq = 32 * word + (31 - Math.clz32(bits & -bits))
        if (this.#priority[irq]! > this.#priority[best]!) best = irq
        bits &= bits - 1
      }
    }
    return best
  }

  #update(): void {
    for (let context = 0; context < this.#contexts; context++) {
      const level = this.#priority[this.#best(context)]! > this.#threshold[context]!
      this.#line(context >> 1, (context & 1) === 0 ? 'M' : 'S', level)
    }
  }
}
