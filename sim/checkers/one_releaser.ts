/**
 * One releaser at a time: of releases, not of beliefs. A replaced primary may believe what it likes, and what it had
 * handed on, or what acknowledgements that were under way lawfully let go, may still leave: all of it is in the past of
 * whoever has replaced it. What must never be:
 *
 *  1. that a process releases what is not in the past of one with a higher epoch that has released or gone live
 *     (nothing at all may leave an older life, unless the operator has forced the newer one);
 *  2. that two processes release under one epoch;
 *  3. that a process which another has overtaken on a port (by a new, higher ordinal) releases a newer one again that
 *     is not in the other's past, whatever epochs the two name;
 *  4. that a gateway process lets a process attach under a lower epoch, or in a lower life, than one that it has let.
 */
import type { Checker } from '../checker.ts'
import type { Observation, ProcessId } from '../observation.ts'
import { type Beginning, type Branch, Copies } from './copies.ts'
import { Decisions } from './decisions.ts'
import { FailureList } from './failure_list.ts'
import { describeOutput } from './output_rule.ts'
import { GATEWAY_RESTART } from './same_bytes.ts'
import { isSameProcess, nameOf } from './wording.ts'

type Released = Observation & { readonly kind: 'released' }

/** Who has acted last under an epoch, by what, and on which branch. */
interface Act {
  readonly epoch: number
  readonly process: ProcessId
  readonly what: string
  readonly atMs: number
  readonly branch: Branch | undefined
  readonly life: number
  readonly isForced: boolean
}

interface Port {
  readonly life: number
  highest: Released
  readonly overtaken: Set<string>
}

export class OneReleaser implements Checker {
  readonly name = 'one releaser at a time'
  readonly #failures = new FailureList()
  readonly #copies = new Copies()
  readonly #decisions = new Decisions()
  /** The highest epoch under which anyone has acted, and all that have acted by epoch. */
  #highest: Act | undefined
  readonly #acts = new Map<number, Act>()
  readonly #ports = new Map<string, Port>()
  /** Whom the gateway has let attach last. */
  #attached: (Observation & { kind: 'attached' }) | undefined

  onObservation(observation: Observation): void {
    this.#copies.onObservation(observation)
    this.#decisions.onObservation(observation)
    switch (observation.kind) {
      case 'attached':
        return this.#onAttached(observation)
      case 'fault':
        if (observation.name === GATEWAY_RESTART) this.#attached = undefined
        return
      case 'booted':
      case 'wentLive':
        return this.#onStart(observation)
      case 'released':
        this.#checkHigher(observation)
        this.#act(observation, `${describeOutput(observation)} left`, observation.epoch, false)
        return this.#checkPort(observation)
    }
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #onStart(start: Beginning): void {
    const { process: who, kind, life, isForced } = start
    const own = this.#decisions.all.findLast(
      (configuration) => configuration.life === life && isSameProcess(configuration.primary, who),
    )
    // Whoever goes live without a decision shows by what it releases under which epoch.
    if (own === undefined) return
    const what = `${nameOf(who)} ${kind === 'booted' ? 'started cold' : 'went live'} in life ${life}`
    this.#act(start, what, own.epoch, isForced)
  }

  #act(
    { process: who, atMs, life }: Observation & { process: ProcessId; life: number },
    what: string,
    epoch: number,
    isForced: boolean,
  ): void {
    const branch = this.#copies.of(who)?.branch
    const before = this.#acts.get(epoch)
    if (before !== undefined && !isSameProcess(before.process, who)) {
      this.#failures.add(
        atMs,
        `two processes act under epoch ${epoch}: ${before.what} at ${before.atMs} ms, and now ${what}`,
      )
    }
    const act: Act = { epoch, process: who, what, atMs, branch, life, isForced: before?.isForced ?? isForced }
    this.#acts.set(epoch, act)
    if (this.#highest === undefined || epoch >= this.#highest.epoch) this.#highest = act
  }

  #checkHigher(released: Released): void {
    const { process: who, epoch, life, index, atMs } = released
    const higher = this.#highest
    if (higher === undefined || epoch >= higher.epoch || isSameProcess(higher.process, who)) return
    if (life !== higher.life) {
      if (life < higher.life && this.#isForcedSince(life)) return
      this.#failures.add(
        atMs,
        `${describeOutput(released)} left under epoch ${epoch}, after ${higher.what} under epoch ${higher.epoch} ` +
          `at ${higher.atMs} ms`,
      )
      return
    }
    const own = this.#copies.of(who)?.branch
    if (own !== undefined && higher.branch?.at(index) === own.at(index)) return
    this.#failures.add(
      atMs,
      `${describeOutput(released)} left under epoch ${epoch} and is not in the past of ${nameOf(higher.process)}, ` +
        `which acted under epoch ${higher.epoch}: ${higher.what} at ${higher.atMs} ms` +
        (higher.branch === undefined ? '' : `, and its own records begin with ${higher.branch.from}`),
    )
  }

  #onAttached(attached: Observation & { kind: 'attached' }): void {
    const before = this.#attached
    this.#attached = attached
    if (before === undefined || (attached.epoch >= before.epoch && attached.life >= before.life)) return
    this.#failures.add(
      attached.atMs,
      `the gateway lets ${nameOf(attached.process)} attach under epoch ${attached.epoch}, though it has let ` +
        `${nameOf(before.process)} under epoch ${before.epoch} at ${before.atMs} ms`,
    )
  }

  #isForcedSince(life: number): boolean {
    return [...this.#acts.values()].some((act) => act.life > life && act.isForced)
  }

  #checkPort(released: Released): void {
    const { life, port: number, process: who, ordinal, index, atMs } = released
    const key = `${life}:${number}`
    const port = this.#ports.get(key)
    if (port === undefined) {
      this.#ports.set(key, { life, highest: released, overtaken: new Set() })
      return
    }
    const { highest } = port
    if (ordinal <= highest.ordinal) return
    if (!isSameProcess(highest.process, who)) {
      const own = this.#copies.of(who)?.branch
      const other = this.#copies.of(highest.process)?.branch
      const isShared = own !== undefined && other?.at(index) === own.at(index)
      if (port.overtaken.has(nameOf(who)) && !isShared) {
        this.#failures.add(
          atMs,
          `${describeOutput(released)} is new, after ${nameOf(highest.process)} had overtaken it with ` +
            `${describeOutput(highest)} at ${highest.atMs} ms: the two release in turns`,
        )
      }
      port.overtaken.add(nameOf(highest.process))
    }
    port.highest = released
  }
}
