/**
 * Liveness: once nothing is broken any more, clients are answered again and the machine is protected again, within a
 * bound, and it stays so to the end of the run.
 *
 * Some losses excuse an outage for good. Each excuse names the state of things that it explains and the fault that must
 * have been put in; without the fault it excuses nothing. That all members were lost together is no excuse: the recorded
 * disk starts the machine again.
 */
import type { Configuration } from '../../src/replication/configuration.ts'
import type { Checker } from '../checker.ts'
import type { FaultName } from '../faults.ts'
import type { Observation, ProcessId } from '../observation.ts'
import { CORRUPTIONS, isOneOf } from './corruption.ts'
import { Decisions } from './decisions.ts'
import { ARBITER_LOSSES, Endings } from './endings.ts'
import { FailureList } from './failure_list.ts'
import { describeConfiguration, nameOf } from './wording.ts'

export interface LivenessBounds {
  /** From the healing until the clients are served, in simulated milliseconds. */
  readonly serviceMs: number
  /** From the healing until there are two copies again, joining included. */
  readonly protectionMs: number
  /** The port whose outputs are the service; undefined: any. */
  readonly port: number | undefined
}

/** What an excuse may look at: all that was so at the end. */
interface Aftermath {
  readonly latest: Configuration | undefined
  readonly endings: Endings
  readonly faults: readonly (Observation & { readonly kind: 'fault' })[]
}

export interface Excuse {
  readonly name: string
  readonly excuses: 'service and protection' | 'protection'
  applies(aftermath: Aftermath): boolean
}

const STOPS: readonly FaultName[] = ['operator stop', 'guest power-off', ...CORRUPTIONS]

/** The losses that excuse an outage. */
export const EXCUSES: readonly Excuse[] = [
  {
    name: 'the operator or the guest has stopped the machine',
    excuses: 'service and protection',
    applies: ({ latest, endings }) =>
      latest?.phase === 'stopped' && STOPS.some((name) => endings.hasHad(name)),
  },
  {
    name: 'the recorded disk is destroyed or an older one, or its host is gone for good',
    excuses: 'service and protection',
    applies: ({ latest, endings, faults }) =>
      latest !== undefined &&
      !endings.isAlive(latest.primary) &&
      isStruck(faults, ['disk destroyed', 'old disk restored', 'host gone'], latest.primary.host),
  },
  {
    name: 'the disk that the machine was to be made from is destroyed, or its host gone, before there was a machine',
    excuses: 'service and protection',
    applies: ({ latest, endings }) =>
      latest === undefined && (endings.hasHad('disk destroyed') || endings.hasHad('host gone')),
  },
  {
    name: 'the recorded backup may live on a host that is gone for good',
    excuses: 'service and protection',
    applies: ({ latest, endings, faults }) =>
      latest?.backup !== undefined &&
      !endings.isAlive(latest.primary) &&
      isStruck(faults, ['host gone'], latest.backup.host),
  },
  {
    name: 'the arbiter has forgotten, or cannot be trusted',
    excuses: 'service and protection',
    applies: ({ endings }) => ARBITER_LOSSES.some((name) => endings.hasHad(name)),
  },
  {
    name: 'there is no second host any more',
    excuses: 'protection',
    applies: ({ endings }) => endings.hasHad('host gone'),
  },
]

function isStruck(faults: Aftermath['faults'], names: readonly FaultName[], host: string): boolean {
  return faults.some(({ name, what }) => isOneOf(names, name) && what.split(/[\s/]/).includes(host))
}

export class Liveness implements Checker {
  readonly name = 'liveness after healing'
  readonly #bounds: LivenessBounds
  readonly #failures = new FailureList()
  readonly #decisions = new Decisions()
  readonly #endings = new Endings()
  readonly #faults: (Observation & { kind: 'fault' })[] = []
  readonly #excuses: string[] = []
  readonly #protectedSince = new Map<string, { readonly process: ProcessId; readonly atMs: number }>()
  readonly #lastChange = new Map<string, string>()
  #healedMs: number | undefined
  #endedMs: number | undefined
  #servedMs: number | undefined
  #lastServedMs: number | undefined

  constructor(bounds: LivenessBounds) {
    this.#bounds = bounds
  }

  get excuses(): readonly string[] {
    return this.#excuses
  }

  onObservation(observation: Observation): void {
    this.#decisions.onObservation(observation)
    this.#endings.onObservation(observation)
    switch (observation.kind) {
      case 'fault':
        this.#faults.push(observation)
        return
      case 'healed':
        this.#healedMs = observation.atMs
        return
      case 'ended':
        this.#endedMs = observation.atMs
        return
      case 'delivered':
        return this.#onDelivered(observation)
      case 'changed':
        return this.#onChanged(observation)
      case 'crashed':
      case 'halted':
        this.#protectedSince.delete(nameOf(observation.process))
        this.#lastChange.set(nameOf(observation.process), observation.kind)
    }
  }

  /** Nothing is judged of a run that was not healed. */
  finish(): readonly string[] {
    const healedMs = this.#healedMs
    const endedMs = this.#endedMs
    if (healedMs === undefined || endedMs === undefined) return this.#failures.lines
    const { serviceMs, protectionMs } = this.#bounds
    const isServed = this.#servedMs !== undefined && this.#servedMs - healedMs <= serviceMs
    const isStill = this.#lastServedMs !== undefined && endedMs - this.#lastServedMs <= serviceMs
    if (!isServed || !isStill) this.#judge('service', healedMs, endedMs)
    const { latest } = this.#decisions
    const since = latest?.backup && this.#protectedSince.get(nameOf(latest.primary))
    if (since === undefined || since.atMs - healedMs > protectionMs) {
      this.#judge('protection', healedMs, endedMs)
    }
    return this.#failures.lines
  }

  #onDelivered({ atMs, port }: Observation & { kind: 'delivered' }): void {
    if (this.#healedMs === undefined) return
    if (this.#bounds.port !== undefined && port !== this.#bounds.port) return
    this.#servedMs ??= atMs
    this.#lastServedMs = atMs
  }

  #onChanged({ process: who, role, protection, atMs }: Observation & { kind: 'changed' }): void {
    const words = [role, protection.state, 'reason' in protection ? protection.reason : ''].join(' ').trim()
    this.#lastChange.set(nameOf(who), words)
    if (role !== 'primary' || protection.state !== 'protected') this.#protectedSince.delete(nameOf(who))
    else if (!this.#protectedSince.has(nameOf(who))) {
      this.#protectedSince.set(nameOf(who), { process: who, atMs })
    }
  }

  #judge(what: 'service' | 'protection', healedMs: number, endedMs: number): void {
    const aftermath = { latest: this.#decisions.latest, endings: this.#endings, faults: this.#faults }
    const excuse = EXCUSES.find(
      (each) => (what === 'protection' || each.excuses !== 'protection') && each.applies(aftermath),
    )
    if (excuse !== undefined) {
      this.#excuses.push(`no ${what}: ${excuse.name}`)
      return
    }
    const bound = what === 'service' ? this.#bounds.serviceMs : this.#bounds.protectionMs
    const seen =
      what === 'protection'
        ? 'the recorded primary is not protected'
        : this.#servedMs === undefined
          ? 'no output reached the clients'
          : `outputs reached the clients from ${this.#servedMs} to ${this.#lastServedMs} ms`
    this.#failures.add(
      endedMs,
      `no ${what} within ${bound} ms of the healing at ${healedMs} ms: ${seen}; ` +
        `the arbiter holds ${describeConfiguration(aftermath.latest)}; ${this.#describeProcesses()}`,
    )
  }

  #describeProcesses(): string {
    const alive = [...this.#lastChange].filter(
      ([, change]) => change !== 'crashed' && change !== 'halted' && !change.includes('halted'),
    )
    return alive.length === 0
      ? 'no process runs'
      : alive.map(([who, change]) => `${who} is ${change}`).join(', ')
  }
}
