/**
 * The arbiter: a chain of decisions that only grows, behind a network that delays, loses and repeats nothing but time.
 *
 * A request that takes longer than a caller waits is answered as unreachable, and may take effect all the same: before
 * that answer, after it, or after the caller's death.
 */
import type { Random } from '../src/base/prng.ts'
import type { ArbiterAnswer, Decision } from '../src/replication/arbiter.ts'
import { decodeConfiguration } from '../src/replication/configuration.ts'
import type { SiteLinks } from './site_links.ts'
import type { World } from './world.ts'

export const ARBITER = 'arbiter'
/** A caller waits so long for an answer. */
const PATIENCE_MS = 700

export interface Proposal {
  readonly expected: Decision | undefined
  readonly proposed: Decision
}

export class ArbiterSite {
  readonly #world: World
  readonly #links: SiteLinks
  readonly #random: Random
  readonly #chain: Decision[] = []
  /** Faults: it does not answer at all; its answers are lost; requests take effect late; it is not to be trusted. */
  isDown = false
  lossChance = 0
  lateChance = 0
  isUntrusted = false
  /** A fault that waits for somebody at a site to propose a change. */
  onProposal: ((site: string) => void) | undefined

  constructor(world: World, links: SiteLinks, random: Random) {
    this.#world = world
    this.#links = links
    this.#random = random
  }

  get latest(): Decision | undefined {
    return this.#chain.at(-1)
  }

  /** A request of a process at `site`; without a proposal it reads. Answered once. */
  ask(site: string, proposal: Proposal | undefined, onAnswer: (answer: ArbiterAnswer) => void): void {
    let isAnswered = false
    const answer = (value: ArbiterAnswer) => {
      if (isAnswered) return
      isAnswered = true
      onAnswer(value)
    }
    this.#world.after(PATIENCE_MS, () => answer({ kind: 'unreachable', reason: 'no answer' }))
    const isLate = proposal !== undefined && this.#random.chance(this.lateChance)
    const delayMs = this.#links.delayMs() + (isLate ? this.#random.fraction() * 8000 : 0)
    this.#world.after(delayMs, () => this.#arrive(site, proposal, answer))
    if (proposal !== undefined) this.onProposal?.(site)
  }

  /** It forgets its latest decision: a fault that nobody can be safe from. */
  rollBack(): boolean {
    if (this.#chain.length < 2) return false
    this.#chain.pop()
    this.#world.observe({ kind: 'rolledBack', epoch: this.latest!.epoch })
    return true
  }

  #arrive(site: string, proposal: Proposal | undefined, answer: (answer: ArbiterAnswer) => void): void {
    if (this.isDown || this.#links.isBlocked(site, ARBITER)) return
    if (proposal !== undefined) this.#decide(proposal)
    const value: ArbiterAnswer = this.isUntrusted
      ? { kind: 'untrusted', reason: 'it answers with another identity' }
      : { kind: 'current', decision: this.latest }
    if (this.#random.chance(this.lossChance)) return
    this.#world.after(this.#links.delayMs(), () => {
      if (!this.#links.isBlocked(ARBITER, site)) answer(value)
    })
  }

  #decide({ expected, proposed }: Proposal): void {
    if (this.latest?.text !== expected?.text) return
    this.#chain.push(proposed)
    this.#world.say(ARBITER, () => `decides ${proposed.text}`)
    this.#world.observe({ kind: 'decided', configuration: decodeConfiguration(proposed) })
  }
}
