/**
 * The copies of the machine that there have been, and the branches on which their histories run.
 *
 *     life 1   o---------------------------x      branch of the cold start; its primary dies here,
 *                              \                  with records that nobody else has
 *                               o-------------    branch of the backup that went live
 *
 * A cold start begins a branch, and so does each going live, at the record with which it goes on. Of the older branch
 * only what comes before that record is in the new one's past: what the old primary has logged since (or still does,
 * not knowing that it has been replaced) is abandoned, and may well differ.
 */
import type { Observation, ProcessId } from '../observation.ts'
import { nameOf } from './wording.ts'

/** A copy begins to execute a life: by booting, by joining, or, at another place, by going live. */
export type Beginning = Observation & { readonly kind: 'booted' | 'installed' | 'wentLive' }

export class Branch {
  readonly life: number
  readonly parent: Branch | undefined
  /** The first record that is its own: all before are the parent's. */
  readonly from: bigint
  /** Whose machine writes it. */
  readonly writer: ProcessId
  readonly sinceMs: number

  constructor(life: number, parent: Branch | undefined, from: bigint, writer: ProcessId, sinceMs: number) {
    this.life = life
    this.parent = parent
    this.from = from
    this.writer = writer
    this.sinceMs = sinceMs
  }

  /** The branch whose own record `index` is, of this one and those it has grown from. */
  at(index: bigint): Branch {
    let branch: Branch = this
    while (branch.parent !== undefined && index < branch.from) branch = branch.parent
    return branch
  }

  /** Whether this one has grown from the other, or is it. */
  isFrom(other: Branch): boolean {
    for (let branch: Branch | undefined = this; branch !== undefined; branch = branch.parent) {
      if (branch === other) return true
    }
    return false
  }
}

/** One copy of the machine: a process from when it has a machine on. */
export interface Copy {
  readonly process: ProcessId
  readonly life: number
  /** Its own history begins with this record; what comes before it got as a state, or there is nothing before. */
  readonly start: bigint
  /** The branch that it writes or follows. */
  readonly branch: Branch
  /** All records before are in its past: executed, or known by its acknowledgements to be in its memory. */
  readonly known: bigint
  /** All records before have been executed. */
  readonly next: bigint
}

export class Copies {
  readonly #copies = new Map<string, { -readonly [K in keyof Copy]: Copy[K] }>()
  /** Acknowledged by processes that have not got their machine yet: the log arrives while the state does. */
  readonly #early = new Map<string, bigint>()
  readonly #newest = new Map<number, Branch>()
  readonly #branches: Branch[] = []

  onObservation(observation: Observation): void {
    switch (observation.kind) {
      case 'started':
        this.#copies.delete(nameOf(observation.process))
        this.#early.delete(nameOf(observation.process))
        return
      case 'booted':
        return this.#add(observation, this.#grow(observation, undefined))
      case 'installed':
        // What is joined is what the life's present primary has.
        return this.#add(
          observation,
          this.#newest.get(observation.life) ?? this.#grow(observation, undefined),
        )
      case 'wentLive': {
        const copy = this.#copies.get(nameOf(observation.process))
        if (copy === undefined) return this.#add(observation, this.#grow(observation, undefined))
        if (copy.life !== observation.life) return this.#add(observation, this.#grow(observation, undefined))
        copy.branch = this.#grow(observation, copy.branch)
        return
      }
      case 'applied': {
        const copy = this.#copies.get(nameOf(observation.process))
        if (copy === undefined) return
        copy.next = observation.index + 1n
        if (copy.next > copy.known) copy.known = copy.next
        return
      }
      case 'acknowledged': {
        const copy = this.#copies.get(nameOf(observation.process))
        if (copy === undefined) this.#early.set(nameOf(observation.process), observation.received)
        else if (observation.received > copy.known) copy.known = observation.received
        return
      }
    }
  }

  /** The copy that a process is, if it has a machine. */
  of(who: ProcessId): Copy | undefined {
    return this.#copies.get(nameOf(who))
  }

  get all(): Iterable<Copy> {
    return this.#copies.values()
  }

  get branches(): readonly Branch[] {
    return this.#branches
  }

  #add({ process: who, life, nextIndex }: Beginning, branch: Branch): void {
    const early = this.#early.get(nameOf(who)) ?? 0n
    const known = early > nextIndex ? early : nextIndex
    this.#copies.set(nameOf(who), { process: who, life, start: nextIndex, branch, known, next: nextIndex })
  }

  #grow({ life, nextIndex, process: who, atMs }: Beginning, parent: Branch | undefined): Branch {
    const branch = new Branch(life, parent?.life === life ? parent : undefined, nextIndex, who, atMs)
    this.#newest.set(life, branch)
    this.#branches.push(branch)
    return branch
  }
}
