/**
 * What this process has seen of an arbiter, by which one that has forgotten is noticed.
 *
 * Answers come in any order, so each is compared with what had been seen when its request was sent: at least that much
 * the arbiter must still know. Once it has failed to, it stays untrusted: others may have built on what is left, and
 * what they built need not contradict what was seen here. A host keeps it from process to process
 * (arbiter_memory_file.ts).
 */
import type { Decision } from '../replication/arbiter.ts'
import { isSameDecision } from './decision_record.ts'

export interface Known {
  /** Which arbiter it is: a directory's random name, a cluster's number. Undefined before its first answer. */
  readonly identity: string | undefined
  /** The latest decision that was seen. */
  readonly decision: Decision | undefined
}

/** What an earlier process of this host has seen, and how the next one gets to know. */
export interface ArbiterPast {
  readonly known: Known
  /** Something new has been seen. */
  readonly onLearn: (known: Known) => void
}

export class ArbiterMemory {
  readonly #name: string
  readonly #onLearn: (known: Known) => void
  #known: Known
  #distrust: string | undefined

  /** `name` is the arbiter's, for reasons. */
  constructor(name: string, past?: ArbiterPast) {
    this.#name = name
    this.#known = past?.known ?? { identity: undefined, decision: undefined }
    this.#onLearn = past?.onLearn ?? (() => {})
  }

  /** What has been seen so far: taken when a request is sent, given back with its answer. */
  get known(): Known {
    return this.#known
  }

  /** Why nothing that this arbiter says may be acted on any more; undefined if all is well. */
  get distrust(): string | undefined {
    return this.#distrust
  }

  /** Never believes this arbiter again. */
  condemn(reason: string): void {
    this.#distrust ??= `${this.#name}: ${reason}`
  }

  /** Takes in an answer to a request that was sent when `before` was known, and looks for contradictions. */
  learn(before: Known, found: Known): void {
    const contradiction = contradictionOf(before, found) ?? conflictOf(this.#known, found)
    if (contradiction !== undefined) this.condemn(contradiction)
    else if ((found.decision?.epoch ?? 0) >= (this.#known.decision?.epoch ?? 0)) this.#remember(found)
  }

  #remember(found: Known): void {
    const before = this.#known
    this.#known = found
    if (before.identity === found.identity && isSameDecision(before.decision, found.decision)) return
    this.#onLearn(found)
  }
}

function contradictionOf(before: Known, { decision }: Known): string | undefined {
  const seen = before.decision
  if (seen === undefined || (decision !== undefined && decision.epoch >= seen.epoch)) return undefined
  const now = decision === undefined ? 'it has none' : `its latest is ${decision.epoch}`
  return `it has forgotten decision ${seen.epoch}: now ${now}. Was it restored from an older copy?`
}

/** What cannot be true of one arbiter, whenever the two were seen. */
function conflictOf(known: Known, found: Known): string | undefined {
  if (known.identity !== undefined && known.identity !== found.identity) {
    return `it is another one than before: ${found.identity ?? 'unnamed'} instead of ${known.identity}`
  }
  const { decision } = known
  if (decision?.epoch !== found.decision?.epoch || isSameDecision(decision, found.decision)) return undefined
  return `its decision ${decision?.epoch} is another one than before. Was it restored from an older copy?`
}
