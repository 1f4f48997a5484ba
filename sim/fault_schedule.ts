/** Which faults a run has and when, until everything heals. */
import type { Random } from '../src/base/prng.ts'
import type { Cluster } from './cluster.ts'
import { FAULT_NAMES, FAULTS, type Fault, type FaultName, type Stage } from './faults.ts'

/** The share of runs in which nothing fails. */
const CALM = 0.05
/** Nothing fails before there was time to start. */
const START_MS = 400

export class FaultSchedule {
  readonly #cluster: Cluster
  readonly #random: Random
  /** What ends when everything heals. */
  readonly #lasting = new Set<() => void>()
  #isHealed = false

  constructor(cluster: Cluster, random: Random, only: readonly FaultName[] | undefined) {
    this.#cluster = cluster
    this.#random = random
    const isCalm = only === undefined && random.chance(CALM)
    const intensity = random.pick([0.3, 1, 1, 2])
    for (const name of FAULT_NAMES) {
      const fault: Fault = FAULTS[name]
      const isChosen = random.chance(fault.share)
      if (only === undefined ? isChosen && !isCalm : only.includes(name)) this.#plan(name, fault, intensity)
    }
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

  #inject(name: FaultName, fault: Fault): void {
    const { world } = this.#cluster.surroundings
    const states = this.#cluster.states()
    const where = fault.inject(this.#stage())
    if (where === undefined) return
    world.say('fault', () => `${name}: ${where}; ${states.join(', ')}`)
    world.observe({ kind: 'fault', name, what: where, states })
  }

  #stage(): Stage {
    const { hosts } = this.#cluster
    const host = this.#random.pick(hosts)
    const primaries = hosts.filter((host) => host.running?.member.role.name === 'primary')
    const primary = primaries.length > 0 ? this.#random.pick(primaries) : host
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
