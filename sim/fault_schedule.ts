/**
 * Which faults a run has and when, until everything heals.
 *
 * Most come by chance, at any time. In some runs they are aimed as well: a process that gets into a state that does not
 * last, such as failing over or handing over, is hit in it more often than chance would. And some runs have
 * appointments: a certain fault comes as soon as a certain state does.
 */
import type { Random } from '../src/base/prng.ts'
import { inducing } from './appointments.ts'
import type { Pair } from './checkers/coverage.ts'
import type { Cluster } from './cluster.ts'
import { FAULT_NAMES, FAULTS, type Fault, type FaultName, type Stage } from './faults.ts'
import type { Host } from './host.ts'
import type { Observation } from './observation.ts'

/** The share of runs in which nothing fails. */
const CALM = 0.05
/** Nothing fails before there was time to start. */
const START_MS = 400
/** The share of runs that aim, how often they do when they could, and how soon after the state has begun. */
const AIMING = 0.5
const AIMED = 0.25
const AIMED_MS = 40
/** How soon what brings the state of an appointment about comes, and comes again, at the latest. */
const INDUCE_MS = 2000
/** The time between two faults that bring a state about together. */
const INDUCE_GAP_MS = 100
/** States in which processes are most of the time. */
const LASTING_STATES: readonly string[] = [
  'primary/protected',
  'primary/need backup',
  'backup/protected',
  'joining/backup joining',
  'starting/starting',
]

export class FaultSchedule {
  readonly #cluster: Cluster
  readonly #random: Random
  /** What ends when everything heals. */
  readonly #lasting = new Set<() => void>()
  /** The faults that a state is aimed at with; empty if this run does not aim. */
  readonly #aimed: FaultName[] = []
  readonly #aim: Random
  #appointments: Pair[]
  #isHealed = false

  constructor(
    cluster: Cluster,
    random: Random,
    { only, appointments }: { only: readonly FaultName[] | undefined; appointments: readonly Pair[] },
  ) {
    this.#cluster = cluster
    this.#random = random
    this.#aim = cluster.surroundings.world.randomStream()
    const isAiming = this.#aim.chance(AIMING)
    const isCalm = only === undefined && random.chance(CALM)
    const intensity = random.pick([0.3, 1, 1, 2])
    for (const name of FAULT_NAMES) {
      const fault: Fault = FAULTS[name]
      const isChosen = random.chance(fault.share)
      const isPlanned = only === undefined ? isChosen && !isCalm : only.includes(name)
      if (!isPlanned) continue
      this.#plan(name, fault, intensity)
      if (isAiming) this.#aimed.push(name)
    }
    this.#appointments = [...appointments]
    if (appointments.length > 0) this.#keepAppointments()
  }

  /** A watcher of the run, for the states that it aims at. */
  onObservation(observation: Observation): void {
    if (observation.kind === 'crashed' || observation.kind === 'halted')
      this.#onEnded(observation.process.host)
    if (observation.kind !== 'changed' || this.#aimed.length === 0) return
    const { role, protection } = observation
    const detail = 'reason' in protection ? protection.reason : protection.state
    if (LASTING_STATES.includes(`${role}/${detail}`) || !this.#aim.chance(AIMED)) return
    const name = this.#aim.pick(this.#aimed)
    this.#cluster.surroundings.world.after(this.#aim.fraction() * AIMED_MS, () => {
      if (!this.#isHealed) this.#inject(name, FAULTS[name])
    })
  }

  /** Ends all faults. */
  heal(): void {
    this.#isHealed = true
    for (const end of [...this.#lasting]) end()
    for (const host of this.#cluster.hosts) {
      host.powerOn()
      host.running?.resume()
    }
    this.#cluster.surroundings.links.openAll()
  }

  #keepAppointments(): void {
    const { stateWatch } = this.#cluster.surroundings
    stateWatch.onState = (name, state) => this.#onState(name, state)
    for (const pair of this.#appointments) {
      const faults = inducing(pair)
      if (faults.length > 0) this.#induce(pair, faults)
    }
  }

  #onState(host: string, state: string): void {
    for (const pair of this.#appointments) if (pair.state === state) this.#meet(pair, host)
  }

  /** A host without a process, or without power, is in a state too. */
  #onEnded(name: string): void {
    if (this.#appointments.length === 0) return
    this.#cluster.surroundings.world.after(1, () => {
      const host = this.#cluster.hosts.find((one) => one.name === name)
      if (host !== undefined) this.#onState(name, this.#cluster.stateOf(host))
    })
  }

  /** Brings the state of an appointment about, again and again until it has been kept. */
  #induce(pair: Pair, names: readonly FaultName[]): void {
    const { world } = this.#cluster.surroundings
    const isDue = () => !this.#isHealed && this.#appointments.includes(pair)
    const startMs = START_MS + this.#aim.fraction() * INDUCE_MS
    names.forEach((name, i) => {
      world.after(startMs + i * INDUCE_GAP_MS, () => void (isDue() && this.#inject(name, FAULTS[name])))
    })
    world.after(startMs + INDUCE_MS, () => void (isDue() && this.#induce(pair, names)))
  }

  #meet(pair: Pair, hostName: string): void {
    const host = this.#cluster.hosts.find(({ name }) => name === hostName)
    if (host === undefined || this.#cluster.stateOf(host) !== pair.state) return
    if (this.#isHealed || !this.#appointments.includes(pair)) return
    const name = pair.fault as FaultName
    if (!this.#inject(name, FAULTS[name], host)) return
    this.#appointments = this.#appointments.filter((other) => other !== pair)
  }

  #plan(name: FaultName, fault: Fault, intensity: number): void {
    const { world } = this.#cluster.surroundings
    const meanMs = 60_000 / (fault.perMinute * intensity)
    const delayMs = START_MS + -Math.log(1 - this.#random.fraction()) * meanMs
    world.after(delayMs, () => {
      if (this.#isHealed) return
      this.#inject(name, fault)
      this.#plan(name, fault, intensity)
    })
  }

  /** False if it cannot be put in now. */
  #inject(name: FaultName, fault: Fault, at?: Host): boolean {
    const { world } = this.#cluster.surroundings
    const states = this.#cluster.states()
    const where = fault.inject(this.#stage(at))
    if (where === undefined) return false
    world.say('fault', () => `${name}: ${where}; ${states.join(', ')}`)
    world.observe({ kind: 'fault', name, what: where, states })
    return true
  }

  #stage(at?: Host): Stage {
    const { hosts } = this.#cluster
    const host = at ?? this.#random.pick(hosts)
    const primaries = hosts.filter((host) => host.running?.member.role.name === 'primary')
    const isAtPrimary = at !== undefined && primaries.includes(at)
    const primary = primaries.length > 0 && !isAtPrimary ? this.#random.pick(primaries) : host
    return {
      cluster: this.#cluster,
      random: this.#random,
      host,
      primary,
      until: (lastsMs, end) => this.#until(lastsMs, end),
    }
  }

  #until(lastsMs: number, end: () => void): void {
    const once = () => {
      if (this.#lasting.delete(once)) end()
    }
    this.#lasting.add(once)
    this.#cluster.surroundings.world.after(lastsMs, once)
  }
}
