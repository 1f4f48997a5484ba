/**
 * The port to the arbiter: the one place outside both hosts that decides who may act for a machine.
 *
 * It holds, for each machine, a chain of decisions numbered by epoch, from 1. All it has to do is to let exactly one
 * decision follow each other (test-and-set), never to forget one, and to answer a read with the latest. What is in a
 * decision it need not know: to it the text is opaque (configuration.ts has the meaning).
 */

/** A configuration as it is stored: `text` is one line of ASCII, at most MAX_DECISION_BYTES, equal only if it is the same. */
export interface Decision {
  /** From 1 to 2^32 - 1; each is one more than the one before. */
  readonly epoch: number
  readonly text: string
}

export const MAX_DECISION_BYTES = 4096

/** What the arbiter says, to a read as to a proposal. */
export type ArbiterAnswer =
  /**
   * The latest decision at some instant between the request and this answer (linearizable); undefined if there has
   * never been one. After a proposal: the latest once the proposal has been applied or has turned out not to apply.
   */
  | { readonly kind: 'current'; readonly decision: Decision | undefined }
  /** No outcome: a proposal may have taken effect, may take effect later, or never. */
  | { readonly kind: 'unreachable'; readonly reason: string }
  /** It has forgotten something, is another one than before, or is not shared: nothing it says may be acted on. */
  | { readonly kind: 'untrusted'; readonly reason: string }

export type OnAnswer = (answer: ArbiterAnswer) => void

/**
 * An arbiter for one machine. Each request gets one answer, in any order, unless the arbiter is closed before. A
 * request may be repeated at any time; identical proposals are one proposal.
 */
export interface Arbiter {
  /** Asks for the latest decision. */
  read(onAnswer: OnAnswer): void
  /**
   * Lets `proposed` follow `expected` if `expected` (text included) is the latest decision, or if it is undefined and
   * there is none. `proposed.epoch` is one more than that of `expected`.
   */
  propose(expected: Decision | undefined, proposed: Decision, onAnswer: OnAnswer): void
  /** Gives up what is under way without answers and frees what it holds. */
  close(): void
}
