/**
 * The arbiter's decisions, and that nobody acts outside of them.
 *
 *  1. Each epoch is one more than the one before, from 1; each change is one of configuration.ts's table.
 *  2. A life is numbered by the epoch of the cold start that began it, and every other change keeps it.
 *  3. A cold start is by a process that has never been named before, from the recorded primary's disk; from the recorded
 *     backup's only if it was forced. A copy that is added has never been named before.
 *  4. No two processes have the same incarnation.
 *  5. A process boots, goes live, releases and acknowledges only under an epoch whose decision names it for that; only a
 *     joining copy, which no decision has named, may acknowledge besides.
 *  6. A process says that the machine is protected only if the last decision that names it names two.
 */
import { type Configuration, isSameMember } from '../../src/replication/configuration.ts'
import type { Checker } from '../checker.ts'
import type { Observation, ProcessId } from '../observation.ts'
import type { Beginning } from './copies.ts'
import { Decisions, partIn } from './decisions.ts'
import { FailureList } from './failure_list.ts'
import { describeConfiguration, isSameProcess, nameOf } from './wording.ts'

export class Epochs implements Checker {
  readonly name = 'epochs and who acts in them'
  readonly #failures = new FailureList()
  readonly #decisions = new Decisions()
  readonly #processes = new Set<string>()
  readonly #live = new Set<string>()
  /** Lives that began from the backup's disk, which only force allows. */
  readonly #needForce = new Map<number, string>()
  /** Said once is enough of what would be repeated with each output. */
  readonly #said = new Set<string>()

  onObservation(observation: Observation): void {
    if (observation.kind === 'decided') this.#onDecided(observation.atMs, observation.configuration)
    this.#decisions.onObservation(observation)
    switch (observation.kind) {
      case 'started':
        return this.#onStarted(observation.atMs, observation.process)
      case 'booted':
      case 'wentLive':
        this.#live.add(nameOf(observation.process))
        return this.#onLive(observation)
      case 'released':
        return this.#onReleased(observation)
      case 'acknowledged':
        return this.#onAcknowledged(observation)
      case 'changed':
        return this.#onChanged(observation)
    }
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #onStarted(atMs: number, who: ProcessId): void {
    if (this.#processes.has(nameOf(who))) {
      this.#failures.add(atMs, `${nameOf(who)} starts, but there has been a process of this incarnation`)
    }
    this.#processes.add(nameOf(who))
  }

  #onDecided(atMs: number, next: Configuration): void {
    const from = this.#decisions.latest
    const problem = this.#problem(from, next)
    if (problem === undefined) return
    this.#failures.add(
      atMs,
      `${describeConfiguration(next)} was decided after ${describeConfiguration(from)}: ${problem}`,
    )
  }

  #problem(from: Configuration | undefined, next: Configuration): string | undefined {
    const epoch = (from?.epoch ?? 0) + 1
    if (next.epoch !== epoch) return `it should have epoch ${epoch}`
    if (next.change === 'cold start') return this.#coldStartProblem(from, next)
    if (from === undefined) return 'the first change must be a cold start'
    if (next.life !== from.life) return `it changes the life from ${from.life} to ${next.life}`
    if (from.phase === 'stopped') return 'the machine was stopped'
    return this.#changeProblem(from, next)
  }

  #coldStartProblem(from: Configuration | undefined, next: Configuration): string | undefined {
    if (next.life !== next.epoch) return `a cold start begins life ${next.epoch}, not ${next.life}`
    if (next.backup !== undefined || next.phase !== 'running') return 'whoever starts cold runs, and is alone'
    if (from === undefined) return undefined
    if (this.#decisions.hasNamed(next.primary)) return `${nameOf(next.primary)} has been a member before`
    if (isDiskOf(from.primary, next.primary)) return undefined
    if (!isDiskOf(from.backup, next.primary)) {
      return `disk ${next.primary.diskGeneration} at ${next.primary.host} is not one that was recorded`
    }
    // Of a machine that was stopped in order both disks are whole.
    if (from.phase === 'stopped') return undefined
    this.#needForce.set(next.life, `${describeConfiguration(next)} started from the disk of the backup`)
    return undefined
  }

  #changeProblem(from: Configuration, next: Configuration): string | undefined {
    const { change, primary, backup, phase } = next
    if ((phase === 'stopped') !== (change === 'stop')) return `a change '${change}' leaves it ${phase}`
    const isKept = isSameMember(from.primary, primary)
    switch (change) {
      case 'go live':
      case 'hand over':
        if (from.backup === undefined) return 'there was no backup'
        if (!isSameMember(from.backup, primary)) return 'the new primary was not the backup'
        return backup === undefined ? undefined : 'whoever takes over is alone'
      case 'drop':
        if (from.backup === undefined) return 'there was no backup'
        if (!isKept) return 'it changes the primary'
        return backup === undefined ? undefined : 'it drops nobody'
      case 'add':
        if (from.backup !== undefined) return 'there was a backup already'
        if (!isKept) return 'it changes the primary'
        if (backup === undefined) return 'it adds nobody'
        return this.#decisions.hasNamed(backup) ? `${nameOf(backup)} has been a member before` : undefined
      case 'stop':
        if (!isKept) return 'it changes the primary'
        return backup === undefined || isSameMember(from.backup, backup) ? undefined : 'it changes the backup'
      case 'cold start':
        return undefined
    }
  }

  #onLive({ kind, process: who, life, isForced, atMs }: Beginning): void {
    const needed = this.#needForce.get(life)
    if (kind === 'booted' && needed !== undefined && !isForced) {
      this.#failures.add(atMs, `${needed}, and nobody had forced it`)
    }
    const changes = kind === 'booted' ? ['cold start'] : ['go live', 'hand over']
    const isDecided = this.#decisions.all.some(
      (decided) =>
        decided.life === life && changes.includes(decided.change) && isSameProcess(decided.primary, who),
    )
    if (isDecided) return
    this.#failures.add(
      atMs,
      `${nameOf(who)} ${kind === 'booted' ? 'booted' : 'went live'} in life ${life} without a decision: ` +
        `the latest is ${describeConfiguration(this.#decisions.latest)}`,
    )
  }

  #onReleased({ process: who, epoch, life, atMs }: Observation & { kind: 'released' }): void {
    const decided = this.#decisions.at(epoch)
    const part = partIn(decided, who)
    if (part === 'primary' && decided?.phase === 'running' && decided.life === life) return
    this.#sayOnce(
      atMs,
      `${nameOf(who)} releases in life ${life} under epoch ${epoch}, of which the decision is ` +
        describeConfiguration(decided),
    )
  }

  #onAcknowledged({ process: who, epoch, atMs }: Observation & { kind: 'acknowledged' }): void {
    const decided = this.#decisions.at(epoch)
    if (this.#live.has(nameOf(who))) {
      this.#sayOnce(atMs, `${nameOf(who)} acknowledges under epoch ${epoch}, though it is a primary`)
      return
    }
    const part = partIn(decided, who)
    if (part === 'backup') return
    const isJoining = decided !== undefined && part === 'none' && decided.phase === 'running'
    if (isJoining && !this.#decisions.all.some((other) => isOlder(other, decided) && names(other, who)))
      return
    this.#sayOnce(
      atMs,
      `${nameOf(who)} acknowledges under epoch ${epoch}, of which the decision is ${describeConfiguration(decided)}`,
    )
  }

  #onChanged({ process: who, role, protection, atMs }: Observation & { kind: 'changed' }): void {
    if (protection.state !== 'protected') return
    const last = this.#decisions.all.findLast((decided) => names(decided, who))
    if (last?.backup !== undefined && partIn(last, who) === role) return
    this.#failures.add(
      atMs,
      `${nameOf(who)}, ${role}, says that the machine is protected, but the last decision that names it is ` +
        describeConfiguration(last),
    )
  }

  #sayOnce(atMs: number, what: string): void {
    if (this.#said.has(what)) return
    this.#said.add(what)
    this.#failures.add(atMs, what)
  }
}

function isDiskOf(member: Configuration['backup'], disk: Configuration['primary']): boolean {
  return member !== undefined && member.host === disk.host && member.diskGeneration === disk.diskGeneration
}

function isOlder(a: Configuration, b: Configuration): boolean {
  return a.epoch < b.epoch
}

function names(configuration: Configuration, who: ProcessId): boolean {
  return partIn(configuration, who) !== 'none'
}
