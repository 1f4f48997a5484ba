/**
 * One lineage: whoever goes on has everything in its past that the world can know.
 *
 *  1. A copy that goes live has executed to the record with which it goes on, and that is behind everything it has ever
 *     acknowledged.
 *  2. Every output that anyone has released in that life is in its past: its record is before the one with which the
 *     copy goes on, on the same branch, and with the same content where the copy has executed it itself.
 *  3. A flush that copies report for the same record is the same one: so the flushes that those outputs make visible
 *     are in its past as well.
 *  4. Lives rise: nobody boots or goes live in one that a later cold start has replaced.
 *  5. A cold start finds at least the flushes that the guest of the recorded primary had been told of, unless the memory
 *     of a copy of that life was corrupted, and so maybe its count.
 *  6. A cold start loses what was in memory only if all members of the configuration before it have ended by a fault, or
 *     have halted for a lawful reason with an injected cause (endings.ts).
 *  7. A copy that has found itself to differ goes live only if the primary whose log it followed was convicted.
 *
 * Forced starts are excepted from 5 and 6: the operator has been told what they may lose.
 */
import type { Configuration } from '../../src/replication/configuration.ts'
import type { Checker } from '../checker.ts'
import type { Observation } from '../observation.ts'
import { type Beginning, Copies, type Copy } from './copies.ts'
import { Corruption } from './corruption.ts'
import { Decisions } from './decisions.ts'
import { CONVICTED, Endings } from './endings.ts'
import { FailureList } from './failure_list.ts'
import { Flushes } from './flushes.ts'
import { describeOutput } from './output_rule.ts'
import { describeConfiguration, nameOf } from './wording.ts'

type Released = Observation & { readonly kind: 'released' }

interface Leaving {
  readonly released: Released
  readonly copy: Copy | undefined
  /** Digest of the output record, as the releaser applied it. */
  readonly record: bigint | undefined
}

export class OneLineage implements Checker {
  readonly name = 'one lineage'
  readonly #failures = new FailureList()
  readonly #copies = new Copies()
  readonly #decisions = new Decisions()
  readonly #endings = new Endings()
  readonly #flushes = new Flushes(this.#copies)
  readonly #corruption = new Corruption(this.#copies)
  /** What has left, by life. */
  readonly #left = new Map<number, Leaving[]>()
  /** What each process has applied, by index. */
  readonly #records = new Map<string, Map<bigint, bigint>>()
  /** Why the cold start of a life is not excused, unless it turns out to have been forced. */
  readonly #accusations = new Map<number, string>()
  readonly #excuses: string[] = []
  readonly #diverged = new Set<string>()
  #life = 0

  get excuses(): readonly string[] {
    return this.#excuses
  }

  onObservation(observation: Observation): void {
    if (observation.kind === 'wentLive') this.#onWentLive(observation)
    if (observation.kind === 'decided') this.#onDecided(observation.configuration)
    this.#copies.onObservation(observation)
    this.#corruption.onObservation(observation)
    this.#decisions.onObservation(observation)
    this.#endings.onObservation(observation)
    if (observation.kind === 'flushed') this.#checkFlush(observation)
    this.#flushes.onObservation(observation)
    switch (observation.kind) {
      case 'diverged':
        this.#diverged.add(nameOf(observation.process))
        return
      case 'applied':
        return this.#onApplied(observation)
      case 'released':
        return this.#onReleased(observation)
      case 'booted':
        return this.#onBooted(observation)
      case 'recovered':
        return this.#onRecovered(observation)
    }
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #onApplied({ process: who, index, record }: Observation & { kind: 'applied' }): void {
    const records = this.#records.get(nameOf(who)) ?? new Map<bigint, bigint>()
    this.#records.set(nameOf(who), records)
    records.set(index, record)
  }

  #onReleased(released: Released): void {
    const { process: who, life, index } = released
    const left = this.#left.get(life) ?? []
    this.#left.set(life, left)
    const copy = this.#copies.of(who)
    const record = this.#records.get(nameOf(who))?.get(index)
    left.push({ released, copy: copy && { ...copy }, record })
  }

  #onWentLive(live: Beginning): void {
    const { process: who, life, nextIndex, atMs } = live
    const copy = this.#copies.of(who)
    const what = `${nameOf(who)} went live in life ${life} with record ${nextIndex}`
    this.#checkLife(atMs, what, life)
    if (copy === undefined || copy.life !== life) {
      this.#failures.add(atMs, `${what}, but it has no machine of that life`)
      return
    }
    if (copy.next !== nextIndex)
      this.#failures.add(atMs, `${what}, but it has executed those before ${copy.next}`)
    if (copy.known > nextIndex)
      this.#failures.add(atMs, `${what}, but it had acknowledged all before ${copy.known}`)
    if (this.#diverged.has(nameOf(who)) && !this.#isPrimaryConvicted())
      this.#failures.add(atMs, `${what}, but it had diverged, and the primary was not convicted`)
    const missing = (this.#left.get(life) ?? []).find((leaving) => !this.#isInPast(leaving, live, copy))
    if (missing === undefined) return
    const { released, record } = missing
    const own = this.#records.get(nameOf(who))?.get(released.index)
    this.#failures.add(
      atMs,
      `${what}, and ${describeOutput(released)}, which left at ${released.atMs} ms, is not in its past: ` +
        (released.index >= nextIndex
          ? 'that record came later'
          : own === undefined || own === record
            ? 'that record is on another branch'
            : `its own record ${released.index} is ${own.toString(16)}, not ${record?.toString(16)}`),
    )
  }

  /** Whether the primary of the configuration before the latest one has ended as convicted. */
  #isPrimaryConvicted(): boolean {
    const before = this.#decisions.at((this.#decisions.latest?.epoch ?? 0) - 1)
    return before !== undefined && this.#endings.of(before.primary)?.reason?.startsWith(CONVICTED) === true
  }

  #isInPast({ released, copy, record }: Leaving, live: Beginning, own: Copy): boolean {
    const { index } = released
    if (index >= live.nextIndex || copy === undefined) return false
    if (copy.branch.at(index) !== own.branch.at(index)) return false
    const applied = this.#records.get(nameOf(live.process))?.get(index)
    return applied === undefined || record === undefined || applied === record
  }

  #checkFlush(flushed: Observation & { kind: 'flushed' }): void {
    const { process: who, index, flushes, life, atMs } = flushed
    const copy = this.#copies.of(who)
    const first = copy && this.#flushes.at(copy.branch, index)
    if (first === undefined || first.flushes === flushes) return
    this.#failures.add(
      atMs,
      `${nameOf(who)} reports flush ${flushes} with record ${index} of life ${life}, but ` +
        `${nameOf(first.process)} reported flush ${first.flushes} with it at ${first.atMs} ms`,
    )
  }

  #onDecided(configuration: Configuration): void {
    const from = this.#decisions.latest
    if (configuration.change !== 'cold start' || from === undefined || from.phase === 'stopped') return
    const members = from.backup === undefined ? [from.primary] : [from.primary, from.backup]
    const complaint = members.flatMap((member) => this.#endings.complaint(member) ?? [])[0]
    if (complaint === undefined) return
    this.#accusations.set(
      configuration.life,
      `${describeConfiguration(configuration)} gave up the memory of ${describeConfiguration(from)}, but ${complaint}`,
    )
  }

  #onBooted({ process: who, life, isForced, atMs }: Beginning): void {
    this.#checkLife(atMs, `${nameOf(who)} booted in life ${life}`, life)
    this.#life = Math.max(this.#life, life)
    const accusation = this.#accusations.get(life)
    if (accusation !== undefined && !isForced) this.#failures.add(atMs, accusation)
    const from = this.#decisions.at(life - 1)
    if (from?.phase === 'running') {
      const lost = from.backup === undefined ? 'the only copy' : 'both copies'
      this.#excuses.push(`memory lost: ${isForced ? 'a cold start was forced' : `faults ended ${lost}`}`)
    }
  }

  #onRecovered({ process: who, life, flushes, isForced, atMs }: Observation & { kind: 'recovered' }): void {
    const due = this.#flushes.due(life)
    if (isForced || flushes >= due) return
    // The guest counts in its memory: what a bit that flips there makes of the count is on the disk as well.
    const before = this.#decisions.at(life - 1)?.life
    if (before !== undefined && this.#corruption.isIn(before)) {
      this.#excuses.push('flushes not judged: a copy with corrupted memory counted them')
      return
    }
    this.#failures.add(
      atMs,
      `${nameOf(who)} started life ${life} with ${flushes} flushes on its disk, ` +
        `but the guest of the recorded primary had been told of ${due}`,
    )
  }

  #checkLife(atMs: number, what: string, life: number): void {
    if (life >= this.#life) return
    this.#failures.add(atMs, `${what}, but life ${this.#life} has begun`)
  }
}
