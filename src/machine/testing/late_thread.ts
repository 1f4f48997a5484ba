/** Emission as another thread does it: orders are done some slices later, and what comes of them comes later still. */
import { Random } from '../../base/prng.ts'
import type { CompiledModule } from '../../wasm/engine.ts'
import type { RegionOrder } from '../translator/emission.ts'
import {
  type EmissionAnswer,
  EmissionService,
  type EmissionThread,
  type EmissionThreadStarter,
} from '../translator/emission_thread.ts'
import type { KeptRegions } from '../translator/kept_regions.ts'

/** An answer comes when it has been asked for so often, at most; and so many orders are done each time. */
const LATE_MAX = 6
const DONE_MAX = 3

export function lateThread(seed: number, kept?: KeptRegions): EmissionThreadStarter {
  return (parts, limits) => {
    const random = new Random(seed)
    const compile = (wasm: Uint8Array<ArrayBuffer>): CompiledModule => wasm as object as CompiledModule
    const begin = (send: (answer: EmissionAnswer) => void) =>
      new EmissionService({ ...parts, limits, regions: 0, kept, compile, send })
    return new LateThread(begin, random)
  }
}

class LateThread implements EmissionThread {
  readonly #begin: (send: (answer: EmissionAnswer) => void) => EmissionService
  readonly #random: Random
  #service: EmissionService
  /** What has not been done, and what has not been taken. */
  #commands: (() => void)[] = []
  #answers: EmissionAnswer[] = []
  #taken = 0
  #late = 0

  constructor(begin: (send: (answer: EmissionAnswer) => void) => EmissionService, random: Random) {
    this.#begin = begin
    this.#random = random
    this.#service = this.#newService()
  }

  order(order: RegionOrder): void {
    const taken = this.#taken
    this.#commands.push(() => this.#service.order(order, taken))
  }

  meet(pages: readonly number[]): void {
    const taken = this.#taken
    for (const page of pages) this.#commands.push(() => this.#service.meet(page, taken))
    // As the other thread does when it has nothing else to do.
    this.finish()
  }

  finish(): void {
    this.#commands.push(() => this.#service.finish())
  }

  /** Asked for each time, since commands are done when answers are taken. */
  readonly isReady = true

  get hasAnswer(): boolean {
    return this.#commands.length > 0 || this.#answers.length > 0
  }

  take(): EmissionAnswer | undefined {
    for (const command of this.#commands.splice(0, this.#random.below(DONE_MAX + 1))) command()
    if (this.#answers.length === 0 || this.#late-- > 0) return undefined
    this.#late = this.#random.below(LATE_MAX)
    this.#taken++
    return this.#answers.shift()
  }

  cancel(): void {
    this.#commands = []
    this.#taken = 0
    this.#service = this.#newService()
  }

  #newService(): EmissionService {
    const answers: EmissionAnswer[] = []
    this.#answers = answers
    return this.#begin((answer) => answers.push(answer))
  }
}
