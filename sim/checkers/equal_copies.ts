/**
 * Copies are equal where they are at the same place of the same history.
 *
 *  1. Each copy applies record after record, none left out and none twice, at positions that do not go back.
 *  2. All copies on a branch (copies.ts) apply the same record at an index, at the same position.
 *  3. Afterwards their machines are in the same state, unless a fault has corrupted one of them: that one, and whoever
 *     gets its state, is compared only with its like, until it is replaced.
 *  4. No copy says that it diverges unless one has been corrupted.
 */
import type { Checker } from '../checker.ts'
import type { Observation } from '../observation.ts'
import { type Beginning, type Branch, Copies, type Copy } from './copies.ts'
import { Corruption } from './corruption.ts'
import { FailureList } from './failure_list.ts'
import { nameOf } from './wording.ts'

type Applied = Observation & { readonly kind: 'applied' }

export class EqualCopies implements Checker {
  readonly name = 'copies equal at equal places'
  readonly #failures = new FailureList()
  readonly #copies = new Copies()
  readonly #corruption = new Corruption(this.#copies)
  /** For each branch and index who applied its record first, and the first with each mark. */
  readonly #first = new Map<Branch, Map<bigint, Applied[]>>()
  /** Where each copy stood before the observation at hand. */
  readonly #positions = new Map<string, bigint>()

  onObservation(observation: Observation): void {
    const next = observation.kind === 'applied' ? this.#copies.of(observation.process)?.next : undefined
    this.#copies.onObservation(observation)
    this.#corruption.onObservation(observation)
    switch (observation.kind) {
      case 'booted':
      case 'installed':
        this.#positions.set(nameOf(observation.process), observation.position)
        return
      case 'wentLive':
        return this.#checkStart(observation)
      case 'applied':
        return this.#onApplied(observation, next)
      case 'diverged':
        return this.#onDiverged(observation)
    }
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #onApplied(applied: Applied, next: bigint | undefined): void {
    const { process: who, index, life, atMs } = applied
    const copy = this.#copies.of(who)
    if (copy === undefined || next === undefined || copy.life !== life) {
      this.#failures.add(atMs, `${describe(applied)}, but has no machine of that life`)
      return
    }
    if (index !== next) {
      const what = index < next ? 'a second time' : `and left out ${next} to ${index - 1n}`
      this.#failures.add(atMs, `${describe(applied)} ${what}: it had applied those before ${next}`)
      return
    }
    this.#checkPosition(applied)
    this.#compare(applied, copy)
  }

  #checkPosition(applied: Applied): void {
    const { process: who, position, atMs } = applied
    const before = this.#positions.get(nameOf(who)) ?? 0n
    if (position < before) {
      this.#failures.add(atMs, `${describe(applied)}, but it was at position ${before} already`)
    }
    this.#positions.set(nameOf(who), position)
  }

  #checkStart({ process: who, position, nextIndex, atMs }: Beginning): void {
    const before = this.#positions.get(nameOf(who))
    if (before === undefined || before === position) return
    this.#failures.add(
      atMs,
      `${nameOf(who)} went live at position ${position}, record ${nextIndex}, but its machine was at ${before}`,
    )
  }

  #compare(applied: Applied, copy: Copy): void {
    const { process: who, index, position, record, state, atMs } = applied
    const all = this.#firstAt(copy.branch.at(index), index)
    const [first] = all
    if (first === undefined) {
      all.push(applied)
      return
    }
    if (first.record !== record || first.position !== position) {
      this.#failures.add(
        atMs,
        `${describe(applied)} as ${hex(record)}, but ${describe(first)} as ${hex(first.record)} at ${first.atMs} ms`,
      )
      return
    }
    const mark = this.#corruption.markOf(who)
    const like = all.find((other) => this.#corruption.markOf(other.process) === mark)
    if (like === undefined) all.push(applied)
    else if (like.state !== state) {
      this.#failures.add(
        atMs,
        `${nameOf(who)} is in state ${hex(state)} after record ${index} at position ${position} of life ` +
          `${applied.life}, but ${nameOf(like.process)} was in state ${hex(like.state)} there at ${like.atMs} ms`,
      )
    }
  }

  #firstAt(branch: Branch, index: bigint): Applied[] {
    let indexes = this.#first.get(branch)
    if (indexes === undefined) {
      indexes = new Map()
      this.#first.set(branch, indexes)
    }
    let all = indexes.get(index)
    if (all === undefined) {
      all = []
      indexes.set(index, all)
    }
    return all
  }

  #onDiverged({ process: who, report, atMs }: Observation & { kind: 'diverged' }): void {
    const copy = this.#copies.of(who)
    if (copy !== undefined && this.#corruption.isIn(copy.life)) return
    this.#failures.add(atMs, `${nameOf(who)} diverged, but no copy has been corrupted: ${report}`)
  }
}

function describe({ process: who, life, index, position }: Applied): string {
  return `${nameOf(who)} applied record ${index} of life ${life} at position ${position}`
}

function hex(digest: bigint): string {
  return digest.toString(16)
}
