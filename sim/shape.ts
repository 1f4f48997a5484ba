/**
 * What a run is like: sizes, speeds, settings. Drawn from the seed, so that runs differ in kind and not only in luck.
 */
import type { Random } from '../src/base/prng.ts'
import { DEFAULT_SETTINGS, type Settings } from '../src/replication/settings.ts'
import type { DiskShape } from './disk.ts'
import type { NetworkShape } from './site_links.ts'

export interface Shape {
  readonly hosts: readonly string[]
  readonly clients: number
  /** How long a client thinks before its next operation, at most. */
  readonly thinkMs: number
  readonly stepsPerMs: number
  readonly backupSpeed: number
  readonly chunkBytes: number
  readonly tickMs: number
  /** How long a supervisor waits before it starts a process again, at most. */
  readonly restartMs: number
  readonly network: NetworkShape
  readonly disk: DiskShape
  readonly settings: Settings
  /** When the faults end. */
  readonly healMs: number
}

export function drawShape(random: Random): Shape {
  const settings = drawSettings(random)
  const hosts = ['A', 'B', 'C', 'D'].slice(0, random.pick([2, 3, 3, 3, 4]))
  return {
    hosts,
    clients: random.between(3, 6),
    thinkMs: random.pick([300, 600, 1200]),
    stepsPerMs: random.pick([50, 100, 200]),
    backupSpeed: random.pick([1.2, 2, 4]),
    chunkBytes: random.pick([300, 1000, 3000]),
    tickMs: settings.heartbeatMs / 2,
    restartMs: random.pick([300, 1000, 2000]),
    network: {
      latencyMs: random.pick([0.1, 0.5, 2]),
      jitterMs: random.pick([0.1, 1, 5]),
      bandwidth: random.pick([100, 1000, 10_000]),
      pieceBytes: random.pick([64, 512, 4096]),
    },
    disk: {
      requestMs: random.pick([0.1, 1, 4]),
      jitterMs: random.pick([0.1, 2, 8]),
      flushMs: random.pick([0.5, 3, 10]),
    },
    settings,
    healMs: random.between(8, 20) * 1000,
  }
}

function drawSettings(random: Random): Settings {
  return {
    ...DEFAULT_SETTINGS,
    ack: random.chance(0.3) ? 'executed' : 'received',
    heartbeatMs: random.pick([50, 50, 100]),
    dialRetryMs: random.pick([100, 400]),
    arbiterRetryMs: random.pick([200, 500]),
    suspicionMs: random.pick([300, 500]),
    stallMs: 3000,
    slowBackupMs: random.pick([2000, 5000]),
    boundBytes: random.pick([2000, 20_000, 1 << 20]),
    releasedMs: random.pick([50, 200]),
    digestMs: random.pick([300, 1000]),
    chunkWindow: random.pick([1, 3, 8]),
    joinGateMs: random.pick([1500, 5000]),
    joinRetryMs: 300,
    joinRetryMaxMs: 2000,
    onDivergence: random.chance(0.8) ? 'primary' : 'stop',
  }
}
