/**
 * One question at a time to the arbiter, asked until it is answered.
 *
 *     idle --read/propose--> asking --current------------------------> idle  (outcome)
 *                              | ^--unreachable, or no answer for arbiterRetryMs: ask the same again
 *
 * A proposal has three outcomes. *Won*: the arbiter holds exactly what was proposed. *Lost*: it holds something else
 * that follows. *Undecided*: what it holds is still what the proposal starts from, since a request that was sent may
 * land at any time; so the same proposal is made again, for ever. There is no giving up: whoever proposes has bound
 * himself until he knows (P9 to P11).
 *
 * Invariants: what the arbiter has said never goes backwards (a lower epoch than seen, or another text for the same
 * one, means that it has forgotten a decision: the member halts, P14).
 */
import { FormatError } from '../base/errors.ts'
import type { ArbiterAnswer, Decision } from './arbiter.ts'
import { type Configuration, decodeConfiguration, encodeConfiguration } from './configuration.ts'
import type { Context } from './context.ts'

export type Outcome =
  /** The latest configuration; undefined if the machine is new. */
  | { readonly kind: 'current'; readonly current: Configuration | undefined }
  | { readonly kind: 'won'; readonly current: Configuration }
  | { readonly kind: 'lost'; readonly current: Configuration }

interface Question {
  readonly proposal: { readonly expected: Decision | undefined; readonly proposed: Decision } | undefined
  /** Requests below this belong to earlier questions. */
  readonly firstRequest: number
  readonly sinceMs: number
  askedMs: number
}

export class ArbiterDialog {
  readonly #context: Context
  #question: Question | undefined
  #latest: Decision | undefined
  #isReachable = true
  #readMs = Number.NEGATIVE_INFINITY

  constructor(context: Context) {
    this.#context = context
  }

  /** Whether a proposal is undecided. */
  get isProposing(): boolean {
    return this.#question?.proposal !== undefined
  }

  /** False from an answer 'unreachable', or from silence, until the next proper answer. */
  get isReachable(): boolean {
    const { nowMs, settings } = this.#context
    const isSilent =
      this.#question !== undefined && nowMs - this.#question.sinceMs > 2 * settings.arbiterRetryMs
    return this.#isReachable && !isSilent
  }

  /**
   * Asks for the latest configuration as it is from now on: a read that is under way is begun anew, since its answer
   * may be older than what made the caller ask. A proposal stays: it is asked until it is decided.
   */
  read(): void {
    if (!this.isProposing) this.#ask(undefined)
  }

  /** Asks for the latest configuration now and then; for whoever waits for something to change. */
  poll(): void {
    const { nowMs, settings } = this.#context
    if (this.#question !== undefined || nowMs - this.#readMs < settings.arbiterRetryMs) return
    this.read()
  }

  /**
   * Proposes that `next` follow `from`. It takes the place of a read that is under way, never of a proposal: whoever
   * may still be proposing gets the outcome of that.
   */
  propose(from: Configuration | undefined, next: Configuration): void {
    if (this.isProposing) return
    const expected = from === undefined ? undefined : encodeConfiguration(from)
    this.#ask({ expected, proposed: encodeConfiguration(next) })
  }

  /** A bug to plant: forgets a proposal that may still land. */
  abandon(): void {
    this.#question = undefined
  }

  onTick(): void {
    const { nowMs, settings } = this.#context
    const question = this.#question
    if (question !== undefined && nowMs - question.askedMs >= settings.arbiterRetryMs) this.#send(question)
  }

  /** The outcome that an answer brings, if any. */
  onAnswer(request: number, answer: ArbiterAnswer): Outcome | undefined {
    const question = this.#question
    if (answer.kind === 'untrusted') {
      this.#context.halt(`the arbiter cannot be trusted: ${answer.reason}`)
      return undefined
    }
    if (answer.kind === 'unreachable') {
      this.#isReachable = false
      return this.#onUnreachable(question)
    }
    // An answer to an earlier question may be older than what is known by now.
    if (question === undefined || request < question.firstRequest) return undefined
    this.#isReachable = true
    const current = this.#accept(answer.decision)
    return this.#context.halted === undefined ? this.#outcome(question, current) : undefined
  }

  /** A bug to plant: a proposal without an answer is taken for one that failed. */
  #onUnreachable(question: Question | undefined): Outcome | undefined {
    if (!this.#context.has('unknown outcome taken as lost') || question?.proposal?.expected === undefined) {
      return undefined
    }
    this.#question = undefined
    return { kind: 'lost', current: decodeConfiguration(question.proposal.expected) }
  }

  #outcome(question: Question, current: Configuration | undefined): Outcome | undefined {
    const { proposal } = question
    if (proposal === undefined) {
      this.#question = undefined
      return { kind: 'current', current }
    }
    const text = current === undefined ? undefined : encodeConfiguration(current).text
    if (text === proposal.expected?.text) return undefined
    this.#question = undefined
    return { kind: text === proposal.proposed.text ? 'won' : 'lost', current: current! }
  }

  /** Takes note of what the arbiter holds; halts if it holds less than before. */
  #accept(decision: Decision | undefined): Configuration | undefined {
    const latest = this.#latest
    const epoch = decision?.epoch ?? 0
    if (latest !== undefined && epoch <= latest.epoch && decision?.text !== latest.text) {
      this.#context.halt(`the arbiter has gone back from epoch ${latest.epoch} to ${epoch}: it has forgotten`)
      return undefined
    }
    try {
      const configuration = decision === undefined ? undefined : decodeConfiguration(decision)
      this.#latest = decision
      return configuration
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#context.halt(error.message)
      return undefined
    }
  }

  #ask(proposal: Question['proposal']): void {
    const firstRequest = this.#context.newRequest()
    const { nowMs } = this.#context
    this.#question = { proposal, firstRequest, sinceMs: nowMs, askedMs: nowMs }
    this.#readMs = nowMs
    this.#emit(firstRequest, proposal)
  }

  #send(question: Question): void {
    question.askedMs = this.#context.nowMs
    this.#emit(this.#context.newRequest(), question.proposal)
  }

  #emit(request: number, proposal: Question['proposal']): void {
    if (proposal === undefined) this.#context.emit({ kind: 'read', request })
    else this.#context.emit({ kind: 'propose', request, ...proposal })
  }
}
