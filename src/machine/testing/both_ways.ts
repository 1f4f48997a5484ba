/** A test program that runs twice, interpreted and translated: whatever is done, both must be in the same state. */
import { assert } from '../../base/assert.ts'
import type { Random } from '../../base/prng.ts'
import { firstDifference } from '../../base/state.ts'
import type { Engine } from '../../wasm/engine.ts'
import type { Machine, Stop } from '../machine.ts'
import type { KeptRegions } from '../translator/kept_regions.ts'
import type { TranslatorCounts } from '../translator/translator_counts.ts'
import { lateThread } from './late_thread.ts'
import { Program, type ProgramOptions } from './program.ts'

/** Stops unless two machines are in the same state at the same position. */
export function requireSameState(one: Machine, other: Machine): void {
  assert(one.position === other.position, `positions ${one.position} and ${other.position}`)
  const difference = firstDifference(one.saveState(), other.saveState())
  const place = `at position ${one.position}`
  if (difference) assert(false, `${place}: ${difference.path} is ${difference.left} and ${difference.right}`)
  assert(one.digest() === other.digest(), `RAM differs ${place}`)
}

/** How tests translate: what is met, at once, some time later, or as another thread does it. */
type TestTier = 'eager' | 'patient' | 'late'

/** The seed of when what another thread has done comes. */
const LATE_SEED = 7

export interface BothWaysOptions extends Omit<ProgramOptions, 'translation' | 'emission'> {
  readonly translation?: TestTier
  /** What is kept of what is emitted late, and found. */
  readonly kept?: KeptRegions
}

export class BothWays {
  readonly interpreted: Program
  readonly translated: Program

  constructor(
    engine: Engine,
    source: string,
    { translation = 'eager', kept, ...options }: BothWaysOptions = {},
  ) {
    this.interpreted = new Program(engine, source, { ...options, translation: 'off' })
    const late = { translation: 'patient', emission: lateThread(LATE_SEED, kept) } as const
    this.translated = new Program(engine, source, {
      ...options,
      ...(translation === 'late' ? late : { translation }),
    })
  }

  /** What has been translated so far. */
  get counts(): TranslatorCounts {
    return this.translated.machine.translatorCounts!
  }

  /** Does the same to both. */
  each(body: (program: Program) => void): void {
    body(this.interpreted)
    body(this.translated)
    requireSameState(this.translated.machine, this.interpreted.machine)
  }

  /** Runs both for so many steps, or to where the program stops. */
  run(steps: bigint): Stop {
    const limit = this.interpreted.machine.position + steps
    const stop = this.interpreted.machine.run(limit)
    const other = this.translated.machine.run(limit)
    assert(stop.reason === other.reason, `interpreted: ${stop.reason}, translated: ${other.reason}`)
    requireSameState(this.translated.machine, this.interpreted.machine)
    return stop
  }

  /** Runs both to the environment call that ends the program, stopping at every `piece` steps. Returns this. */
  finish(piece: bigint): this {
    while (this.run(piece).reason !== 'request');
    return this
  }

  /**
   * Runs both in so many pieces, or to the environment call that ends the program. After each, every store must have marked
   * its page; now and then the translated one forgets its translations.
   */
  runDisturbed(piece: bigint, pieces: number, random: Random): void {
    const { machine } = this.translated
    for (let i = 0; i < pieces; i++) {
      const { reason } = this.run(piece)
      assert(machine.ram.readAgain(0, machine.layout.ramPages).changed === undefined, 'a store left no mark')
      if (random.chance(0.1)) machine.flushTranslations()
      if (reason === 'request') return
    }
  }

  /** Has hart 0 go on at a label. */
  goTo(label: string): void {
    this.each((program) => program.hart.set64('pc', program.label(label)))
  }
}
