/**
 * Makes streams of observations as a run would give them, for the tests of checkers: a small cluster in which nothing
 * happens but what the test says, and in which every sentence of it is true unless the test lies.
 */
import { assert } from '../../../src/base/assert.ts'
import { Random } from '../../../src/base/prng.ts'
import {
  type ChangeKind,
  type Configuration,
  follow,
  type MemberIdentity,
  startCold,
} from '../../../src/replication/configuration.ts'
import type { Checker } from '../../checker.ts'
import type { ClientOperation } from '../../history.ts'
import type { Observation, ProcessId } from '../../observation.ts'
import { drawShape } from '../../shape.ts'

type Untimed<O> = O extends Observation ? Omit<O, 'atMs'> : never

export interface Output {
  readonly life: number
  readonly port: number
  readonly ordinal: bigint
  readonly index: bigint
  readonly bytes: Uint8Array
}

interface Entry {
  readonly record: bigint
  readonly state: bigint
}

/** A process with the identity and the machine that it has. */
export interface Member {
  readonly process: ProcessId
  readonly identity: MemberIdentity
  life: number
  epoch: number
  /** What its machine has in its past. */
  entries: Entry[]
  flushes: bigint
  ordinal: bigint
}

export class Stream {
  readonly observations: Observation[] = []
  configuration: Configuration | undefined
  #nowMs = 0
  #processes = 0
  #records = 1000n

  put(observation: Untimed<Observation>): void {
    this.observations.push({ atMs: ++this.#nowMs, ...observation } as Observation)
  }

  wait(ms: number): void {
    this.#nowMs += ms
  }

  /** A process starts at a host, on the disk `generation` if it is given. */
  start(host: string, generation?: string): Member {
    const incarnation = `${host}${++this.#processes}`
    const who = { host, incarnation }
    this.put({ kind: 'started', process: who })
    const identity = { ...who, diskGeneration: generation ?? `disk-${incarnation}` }
    return { process: who, identity, life: 0, epoch: 0, entries: [], flushes: 0n, ordinal: 0n }
  }

  /** The arbiter decides on a change by which `primary` and `backup` are the members. */
  decide(change: ChangeKind, primary: Member, backup?: Member): Configuration {
    const next =
      change === 'cold start'
        ? startCold(this.configuration, primary.identity)
        : follow(this.configuration!, change, { primary: primary.identity, backup: backup?.identity })
    this.configuration = next
    this.put({ kind: 'decided', configuration: next })
    return next
  }

  /** Boots a machine that finds so many flushes on its disk. */
  boot(member: Member, flushes = 0n, isForced = false): void {
    const { epoch, life } = this.configuration!
    Object.assign(member, { life, epoch, entries: [], flushes, ordinal: 0n })
    const { process: who } = member
    this.put({ kind: 'booted', process: who, life, nextIndex: 0n, position: 0n, isForced })
    this.put({ kind: 'recovered', process: who, life, flushes, isForced })
  }

  /** A cold start as it should be, of a new process. */
  coldStart(host: string, generation?: string, flushes = 0n): Member {
    const member = this.start(host, generation)
    this.decide('cold start', member)
    this.boot(member, flushes)
    return member
  }

  /** The copy gets the state of another one. */
  install(member: Member, from: Member): void {
    const { life, entries, flushes, ordinal } = from
    Object.assign(member, { life, entries: [...entries], flushes, ordinal })
    const nextIndex = BigInt(entries.length)
    const { process: who } = member
    const position = positionOf(member)
    this.put({ kind: 'installed', process: who, life, nextIndex, position, isForced: false })
  }

  goLive(member: Member): void {
    member.epoch = this.configuration!.epoch
    const nextIndex = BigInt(member.entries.length)
    const { process: who, life } = member
    const position = positionOf(member)
    this.put({ kind: 'wentLive', process: who, life, nextIndex, position, isForced: false })
  }

  /** The primary logs a record. */
  log(member: Member, record = this.#records++): void {
    const before = member.entries.at(-1)?.state ?? 0n
    this.#apply(member, { record, state: (before * 31n + record) % 1_000_003n })
  }

  /** The primary's guest puts something out: its record is written. */
  output(member: Member, bytes: Uint8Array = Uint8Array.of(member.entries.length & 255)): Output {
    const index = BigInt(member.entries.length)
    this.log(member)
    return { life: member.life, port: 1, ordinal: ++member.ordinal, index, bytes }
  }

  flush(member: Member): void {
    this.log(member)
    this.#flushed(member, ++member.flushes)
  }

  /** The follower executes everything that the other has logged, and acknowledges it. */
  feed(member: Member, from: Member, epoch = this.configuration!.epoch): void {
    while (member.entries.length < from.entries.length) {
      this.#apply(member, from.entries[member.entries.length]!)
    }
    while (member.flushes < from.flushes) member.flushes++
    member.ordinal = from.ordinal
    this.acknowledge(member, BigInt(member.entries.length), epoch)
  }

  acknowledge(member: Member, received: bigint, epoch = this.configuration!.epoch): void {
    this.put({ kind: 'acknowledged', process: member.process, epoch, received })
  }

  release(member: Member, output: Output, epoch = member.epoch): void {
    this.put({ kind: 'released', process: member.process, epoch, ...output })
  }

  deliver(member: Member, { life, port, ordinal, bytes }: Output, epoch = member.epoch): void {
    this.put({ kind: 'delivered', process: member.process, epoch, life, port, ordinal, bytes })
  }

  /** An output is put out, followed, released and delivered. */
  serve(primary: Member, backup?: Member): Output {
    const output = this.output(primary)
    if (backup !== undefined) this.feed(backup, primary)
    this.release(primary, output)
    this.deliver(primary, output)
    return output
  }

  /** A new copy joins and becomes the backup. */
  join(primary: Member, host: string): Member {
    const member = this.start(host)
    this.install(member, primary)
    this.log(primary)
    this.feed(member, primary)
    this.decide('add', primary, member)
    return member
  }

  crash(member: Member): void {
    this.put({ kind: 'crashed', process: member.process })
  }

  halt(member: Member, reason: string): void {
    this.put({ kind: 'halted', process: member.process, reason })
  }

  fault(name: string, what: string, states: string[] = []): void {
    this.put({ kind: 'fault', name, what, states })
  }

  /** The backup takes the place of the primary. */
  failOver(backup: Member): void {
    this.decide('go live', backup)
    this.goLive(backup)
  }

  protect(primary: Member): void {
    this.put({
      kind: 'changed',
      process: primary.process,
      role: 'primary',
      protection: { state: 'protected' },
    })
  }

  #apply(member: Member, entry: Entry): void {
    const { process: who, life, entries } = member
    const index = BigInt(entries.length)
    entries.push(entry)
    this.put({ kind: 'applied', process: who, life, index, position: index * 10n, ...entry })
  }

  #flushed({ process: who, life, entries }: Member, flushes: bigint): void {
    this.put({ kind: 'flushed', process: who, life, index: BigInt(entries.length) - 1n, flushes })
  }
}

/** Where its machine is: at its last record. */
function positionOf({ entries }: Member): bigint {
  return BigInt(Math.max(0, entries.length - 1)) * 10n
}

/** What the checker says of the stream. */
export function failuresOf(
  checker: Checker,
  { observations }: Stream,
  operations: readonly ClientOperation[] = [],
): readonly string[] {
  for (const observation of observations) checker.onObservation(observation)
  const shape = drawShape(new Random(1, 1))
  return checker.finish({ shape, operations, isServing: true, isProtected: true })
}

/**
 * A long story without a fault in it: a life with two copies, a failover, a replacement, a hand-over, the loss of both
 * copies, a cold start, and an orderly end.
 */
export function goodStory(): Stream {
  const stream = new Stream()
  const a = stream.coldStart('a')
  stream.serve(a)
  stream.flush(a)
  const b = stream.join(a, 'b')
  stream.serve(a, b)
  stream.flush(a)
  const late = stream.output(a)
  stream.feed(b, a)
  stream.log(a)
  stream.failOver(b)
  // The old primary's last lawful release comes after that of its successor.
  stream.release(b, late)
  stream.release(a, late)
  stream.deliver(b, late)
  stream.halt(a, 'deposed: configuration 3 (go live)')
  stream.serve(b)
  const c = stream.join(b, 'a')
  stream.serve(b, c)
  stream.decide('drop', b)
  stream.halt(c, 'replaced: configuration 5 (drop)')
  const d = stream.join(b, 'a')
  stream.serve(b, d)
  stream.decide('hand over', d)
  stream.halt(b, 'handed over')
  stream.goLive(d)
  stream.serve(d)
  const e = stream.join(d, 'b')
  stream.flush(d)
  stream.serve(d, e)
  stream.crash(d)
  stream.crash(e)
  const f = stream.coldStart('a', d.identity.diskGeneration, d.flushes)
  stream.serve(f)
  const g = stream.join(f, 'b')
  stream.put({ kind: 'healed' })
  stream.protect(f)
  stream.serve(f, g)
  assert(stream.configuration?.life === 9, `life ${stream.configuration?.life}`)
  return stream
}
