/**
 * The generation id (Linux, devicetree/bindings/rng/microsoft,vmgenid.yaml): 16 bytes that tell the guest in which life
 * of the machine it is.
 *
 * Two machines made from one snapshot would go on with the same random numbers. When the id changes, which is
 * signalled by a pulse on the interrupt wire, the guest's kernel mixes it into its generator at once. The id comes
 * from outside; before the first change it is zero.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device, InterruptLine } from '../machine/device.ts'

export const GENERATION_BYTES = 16

export interface VmGenerationOptions {
  readonly name?: string
  readonly line: InterruptLine
}

export class VmGeneration implements Device {
  readonly name: string
  readonly #line: InterruptLine
  #id: Uint8Array = new Uint8Array(GENERATION_BYTES)

  constructor(options: VmGenerationOptions) {
    this.name = options.name ?? 'generation0'
    this.#line = options.line
  }

  /** Gives the machine another id, of 16 bytes, and tells the guest. */
  change(id: Uint8Array): void {
    assert(id.length === GENERATION_BYTES, `a generation id has ${GENERATION_BYTES} bytes, not ${id.length}`)
    this.#id = id.slice()
    this.#line(true)
    this.#line(false)
  }

  read(offset: number, size: AccessSize): number {
    let value = 0
    for (let i = 0; i < size; i++) value |= (this.#id[offset + i] ?? 0) << (8 * i)
    return value >>> 0
  }

  write(): void {}

  /** The id belongs to the machine's life, not to the guest's: it stays. */
  reset(): void {}

  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => writer.bytes('id', this.#id))
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {
      const id = reader.bytes('id')
      if (id.length !== GENERATION_BYTES) throw new FormatError(`${this.name}: an id of ${id.length} bytes`)
      this.#id = id
    })
  }
}
