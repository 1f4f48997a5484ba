/**
 * One run of the simulator: a seed decides everything.
 *
 *     faults --healMs--> healed: everything works --served and protected again, or too late--> final reads --> end
 */
import { Random } from '../src/base/prng.ts'
import type { Bug } from '../src/replication/planted.ts'
import { appointmentsOf } from './appointments.ts'
import type { Checker } from './checker.ts'
import type { Pair } from './checkers/coverage.ts'
import { Cluster } from './cluster.ts'
import { FaultSchedule } from './fault_schedule.ts'
import type { FaultName } from './faults.ts'
import type { Observation } from './observation.ts'
import { drawShape } from './shape.ts'
import { KEYS } from './toy_service.ts'
import { type Watcher, World } from './world.ts'

export interface SimulationOptions {
  readonly seed: number
  readonly checkers: readonly Checker[]
  /** Others who see everything that happens. */
  readonly watchers?: readonly Watcher[]
  /** Bugs to plant. */
  readonly planted?: ReadonlySet<Bug>
  /** Only these faults, and all of them, instead of those that the seed chooses. */
  readonly faults?: readonly FaultName[]
  /** Meetings of faults with states to bring about, instead of those that the seed chooses. */
  readonly appointments?: readonly Pair[]
  /** Events after which it ends at the latest: a run away. */
  readonly maxEvents?: number
  /** Called with each line of the trace. */
  readonly onLine?: (line: string) => void
  /** Whether checkers want to see the state after every record: it takes time. */
  readonly isStateWatched?: boolean
}

export interface RunResult {
  readonly seed: number
  readonly simulatedMs: number
  readonly events: number
  /** Each with the checker that says so. */
  readonly failures: readonly string[]
  /** What was found and is excused. */
  readonly excuses: readonly string[]
  readonly statistics: Statistics
}

export interface Statistics {
  failovers: number
  coldStarts: number
  joins: number
  faults: number
  halts: number
  operations: number
  answered: number
}

/** How long service and protection may take to come back when nothing is broken any more. */
const RECOVERY_MS = 25_000
const SETTLING_MS = 3000
const FINAL_MS = 8000
const MAX_EVENTS = 2_000_000

class Counter implements Watcher {
  readonly statistics: Statistics = {
    failovers: 0,
    coldStarts: 0,
    joins: 0,
    faults: 0,
    halts: 0,
    operations: 0,
    answered: 0,
  }

  onObservation(observation: Observation): void {
    if (observation.kind === 'wentLive') this.statistics.failovers++
    if (observation.kind === 'booted') this.statistics.coldStarts++
    if (observation.kind === 'installed') this.statistics.joins++
    if (observation.kind === 'fault') this.statistics.faults++
    if (observation.kind === 'halted') this.statistics.halts++
  }
}

export function simulate(options: SimulationOptions): RunResult {
  const { seed, checkers, planted = new Set<Bug>(), maxEvents = MAX_EVENTS, isStateWatched = true } = options
  const counter = new Counter()
  const watchers: Watcher[] = [counter, ...checkers, ...(options.watchers ?? [])]
  const world = new World(seed, watchers, options.onLine)
  const shape = drawShape(new Random(seed, 0))
  const cluster = new Cluster(world, shape, planted, isStateWatched)
  const only = options.faults
  const appointments = options.appointments ?? (only === undefined ? appointmentsOf(seed) : [])
  const faults = new FaultSchedule(cluster, world.randomStream(), { only, appointments })
  watchers.push(faults)
  const run = (untilMs: number, isDone: () => boolean) => {
    while (!isDone() && world.failure === undefined && world.events < maxEvents && world.step(untilMs));
  }
  run(shape.healMs, () => false)
  faults.heal()
  world.observe({ kind: 'healed' })
  const answered = cluster.clients.answered
  // What has just died may still be taken for alive, and what was slow may still be behind.
  run(shape.healMs + SETTLING_MS, () => false)
  const isBack = () => cluster.isProtected && cluster.clients.answered > answered
  run(shape.healMs + RECOVERY_MS, isBack)
  const outcome = { isServing: cluster.clients.answered > answered, isProtected: cluster.isProtected }
  readFinally(world, cluster, run)
  // A fault from before may show only now (a page that was not read since); what it costs is made good as well.
  if (outcome.isProtected) run(world.nowMs + RECOVERY_MS, () => cluster.isProtected)
  world.observe({ kind: 'ended' })
  const { operations } = cluster.clients
  const failures = world.failure === undefined ? [] : [world.failure]
  for (const checker of checkers) {
    for (const text of checker.finish({ shape, operations, ...outcome }))
      failures.push(`${checker.name}: ${text}`)
  }
  Object.assign(counter.statistics, { operations: operations.length, answered: cluster.clients.answered })
  const excuses = checkers.flatMap((checker) => checker.excuses ?? [])
  const { statistics } = counter
  return { seed, simulatedMs: world.nowMs, events: world.events, failures, excuses, statistics }
}

/** Waits for the operations under way, then reads every key. */
function readFinally(
  world: World,
  { clients }: Cluster,
  run: (untilMs: number, isDone: () => boolean) => void,
): void {
  clients.rest()
  run(world.nowMs + FINAL_MS, () => clients.isAtRest)
  for (let key = 0; key < KEYS; key++) {
    clients.readFinally(key)
    run(world.nowMs + FINAL_MS, () => clients.isAtRest)
  }
}
