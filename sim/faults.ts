/**
 * The faults that a run puts in: each by name, with what it does to the cluster.
 *
 * A fault that lasts ends by itself after a while, or when the run heals. Each run enables some of them, with rates of
 * its own: where everything fails at once, little gets far enough to fail in an interesting way.
 */
import type { Random } from '../src/base/prng.ts'
import { ARBITER } from './arbiter_site.ts'
import type { Cluster } from './cluster.ts'
import { GATEWAY } from './gateway.ts'
import type { Host } from './host.ts'
import { PORT } from './machine_ports.ts'

/** What a fault gets to work with. */
export interface Stage {
  readonly cluster: Cluster
  readonly random: Random
  /** The host of the process that is a primary, if any; else one by chance. */
  readonly primary: Host
  /** A host by chance. */
  readonly host: Host
  /** Lets something end after a while, or when everything heals, whichever comes first. */
  until(lastsMs: number, end: () => void): void
}

export interface Fault {
  /** How often it comes in a run that has it, in a minute. */
  readonly perMinute: number
  /** The probability that a run has it. */
  readonly share: number
  /** Puts it in and says where; undefined if it cannot be. */
  readonly inject: (stage: Stage) => string | undefined
}

const sometimes = (stage: Stage, shortMs: number, longMs: number) =>
  stage.random.chance(0.7)
    ? stage.random.fraction() * shortMs
    : shortMs + stage.random.fraction() * (longMs - shortMs)

function crash(host: Host): string | undefined {
  if (host.running === undefined) return undefined
  host.crash()
  return host.name
}

function crashWithin(stage: Stage, host: Host): string | undefined {
  if (host.running === undefined) return undefined
  host.running.crashAfter = stage.random.below(12)
  return host.name
}

function powerCut(stage: Stage, hosts: readonly Host[], lastsMs: number): string | undefined {
  const up = hosts.filter((host) => host.isUp)
  if (up.length === 0) return undefined
  for (const host of up) {
    host.powerOff()
    stage.until(lastsMs * (0.5 + stage.random.fraction()), () => host.powerOn())
  }
  return up.map((host) => host.name).join('+')
}

function pause(stage: Stage, host: Host): string | undefined {
  const paused = host.running
  if (paused === undefined || paused.isPaused) return undefined
  paused.pause()
  stage.until(sometimes(stage, 600, 4000), () => paused.resume())
  return host.name
}

/** Blocks the ways between two sites, in both directions or in one. */
function partition(stage: Stage, a: string, b: string): string | undefined {
  if (a === b) return undefined
  const { links } = stage.cluster.surroundings
  const isOneWay = stage.random.chance(0.4)
  const ways = isOneWay
    ? [[a, b] as const]
    : ([
        [a, b],
        [b, a],
      ] as const)
  for (const [from, to] of ways) links.block(from, to)
  stage.until(sometimes(stage, 700, 5000), () => {
    for (const [from, to] of ways) links.open(from, to)
  })
  return `${a}${isOneWay ? ' > ' : ' <> '}${b}`
}

function isolate(stage: Stage): string | undefined {
  const sites = [...stage.cluster.hosts.map((host) => host.name), ARBITER, GATEWAY]
  for (const site of sites) if (site !== stage.primary.name) partition(stage, stage.primary.name, site)
  return stage.primary.name
}

function onChannel(stage: Stage, act: 'cut' | 'darken'): string | undefined {
  const channels = stage.cluster.surroundings.network.open
  if (channels.length === 0) return undefined
  const channel = stage.random.pick(channels)
  if (act === 'cut') channel.cut(stage.random)
  else channel.darken(stage.random.below(2) as 0 | 1)
  return channel.sites.join('-')
}

function diskTrouble(stage: Stage, kind: 'slow' | 'failing'): string {
  const { disk, name } = stage.host
  if (kind === 'slow') disk.slowness = stage.random.pick([10, 50, 300])
  else disk.failing = stage.random.pick([0.05, 0.5, 1])
  stage.until(sometimes(stage, 1000, 5000), () => {
    disk.slowness = 1
    disk.failing = 0
  })
  return name
}

function corrupt(stage: Stage, host: Host): string | undefined {
  const machine = host.running?.replica.machine
  if (machine === undefined) return undefined
  machine.corrupt(stage.random.u32())
  return host.name
}

function arbiterTrouble(stage: Stage, kind: 'down' | 'lossy' | 'late'): string {
  const { arbiter } = stage.cluster.surroundings
  if (kind === 'down') arbiter.isDown = true
  if (kind === 'lossy') arbiter.lossChance = stage.random.pick([0.3, 0.9])
  if (kind === 'late') arbiter.lateChance = stage.random.pick([0.3, 0.9])
  stage.until(sometimes(stage, 1500, 6000), () => {
    arbiter.isDown = false
    arbiter.lossChance = 0
    arbiter.lateChance = 0
  })
  return kind
}

/** Waits for the next change that somebody proposes, and strikes at that moment. */
function strikeAtChange(stage: Stage): string {
  const { arbiter, world } = stage.cluster.surroundings
  arbiter.onProposal = (site) => {
    arbiter.onProposal = undefined
    const proposer = stage.cluster.hosts.find(({ name }) => name === site)
    const target = stage.random.chance(0.5) ? (proposer ?? stage.host) : stage.host
    const strike = stage.random.pick([
      crash,
      (host: Host) => pause(stage, host),
      () => onChannel(stage, 'cut'),
    ])
    if (stage.random.chance(0.6)) arbiterTrouble(stage, stage.random.pick(['lossy', 'late'] as const))
    world.after(stage.random.fraction() * 4, () => strike(target))
  }
  stage.until(5000, () => {
    arbiter.onProposal = undefined
  })
  return ARBITER
}

function restartGateway(stage: Stage): string | undefined {
  const { gateway } = stage.cluster.surroundings
  if (gateway.isDown) return undefined
  gateway.stop()
  stage.until(stage.random.fraction() * 500, () => gateway.start())
  return GATEWAY
}

function operate(stage: Stage, command: 'failOver' | 'stop'): string | undefined {
  stage.primary.running?.operate(command)
  return stage.primary.running && stage.primary.name
}

export const FAULTS = {
  'primary crash': { perMinute: 8, share: 0.6, inject: (stage) => crash(stage.primary) },
  'process crash': { perMinute: 10, share: 0.5, inject: (stage) => crash(stage.host) },
  'crash between effects': { perMinute: 15, share: 0.4, inject: (stage) => crashWithin(stage, stage.host) },
  'power cut': {
    perMinute: 4,
    share: 0.4,
    inject: (stage) => powerCut(stage, [stage.host], sometimes(stage, 500, 6000)),
  },
  'total power cut': {
    perMinute: 2,
    share: 0.2,
    inject: (stage) => powerCut(stage, stage.cluster.hosts, sometimes(stage, 500, 3000)),
  },
  'primary pause': { perMinute: 6, share: 0.4, inject: (stage) => pause(stage, stage.primary) },
  pause: { perMinute: 8, share: 0.4, inject: (stage) => pause(stage, stage.host) },
  partition: {
    perMinute: 10,
    share: 0.5,
    inject: (stage) => partition(stage, stage.host.name, stage.random.pick(stage.cluster.hosts).name),
  },
  'partition to the arbiter': {
    perMinute: 6,
    share: 0.4,
    inject: (stage) => partition(stage, stage.host.name, ARBITER),
  },
  'partition to the gateway': {
    perMinute: 5,
    share: 0.3,
    inject: (stage) => partition(stage, stage.primary.name, GATEWAY),
  },
  'isolated primary': { perMinute: 4, share: 0.3, inject: isolate },
  'channel cut': { perMinute: 20, share: 0.5, inject: (stage) => onChannel(stage, 'cut') },
  'channel half open': { perMinute: 8, share: 0.3, inject: (stage) => onChannel(stage, 'darken') },
  'slow execution': {
    perMinute: 5,
    share: 0.3,
    inject: (stage) => {
      const slow = stage.host.running
      if (slow === undefined) return undefined
      slow.slowness = stage.random.pick([10, 100, 1000])
      stage.until(sometimes(stage, 1000, 4000), () => {
        slow.slowness = 1
      })
      return stage.host.name
    },
  },
  'slow disk': { perMinute: 5, share: 0.3, inject: (stage) => diskTrouble(stage, 'slow') },
  'failing disk': { perMinute: 4, share: 0.25, inject: (stage) => diskTrouble(stage, 'failing') },
  'disk destroyed': {
    perMinute: 2,
    share: 0.05,
    inject: (stage) => {
      stage.host.loseDisk()
      return stage.host.name
    },
  },
  'old disk restored': {
    perMinute: 4,
    share: 0.08,
    inject: (stage) => {
      if (!stage.host.disk.hasFormer) return undefined
      stage.host.restoreDisk()
      return stage.host.name
    },
  },
  'host gone': {
    perMinute: 1,
    share: 0.05,
    inject: (stage) => {
      if (!stage.host.isUp || stage.host.isGone) return undefined
      stage.host.lose()
      return stage.host.name
    },
  },
  'RAM corruption': {
    perMinute: 4,
    share: 0.12,
    inject: (stage) => corrupt(stage, stage.random.chance(0.5) ? stage.primary : stage.host),
  },
  'arbiter down': { perMinute: 4, share: 0.3, inject: (stage) => arbiterTrouble(stage, 'down') },
  'arbiter answers lost': { perMinute: 6, share: 0.35, inject: (stage) => arbiterTrouble(stage, 'lossy') },
  'arbiter requests late': { perMinute: 6, share: 0.35, inject: (stage) => arbiterTrouble(stage, 'late') },
  'arbiter untrusted': {
    perMinute: 2,
    share: 0.05,
    inject: (stage) => {
      const { arbiter } = stage.cluster.surroundings
      arbiter.isUntrusted = true
      stage.until(500, () => {
        arbiter.isUntrusted = false
      })
      return ARBITER
    },
  },
  'arbiter rollback': {
    perMinute: 1,
    share: 0.02,
    inject: (stage) => (stage.cluster.surroundings.arbiter.rollBack() ? ARBITER : undefined),
  },
  'trouble at a change': { perMinute: 10, share: 0.35, inject: strikeAtChange },
  'gateway restart': { perMinute: 4, share: 0.3, inject: restartGateway },
  'calendar jump': {
    perMinute: 5,
    share: 0.3,
    inject: (stage) => {
      stage.host.jumpCalendar((stage.random.fraction() - 0.5) * 2e11)
      return stage.host.name
    },
  },
  'hand-over': { perMinute: 5, share: 0.3, inject: (stage) => operate(stage, 'failOver') },
  'operator stop': { perMinute: 1, share: 0.1, inject: (stage) => operate(stage, 'stop') },
  'guest power-off': {
    perMinute: 1,
    share: 0.05,
    inject: (stage) => {
      stage.primary.running?.pressPowerButton()
      return stage.primary.running && stage.primary.name
    },
  },
  'burst of keys': {
    perMinute: 6,
    share: 0.2,
    inject: (stage) => {
      const { gateway } = stage.cluster.surroundings
      for (let i = 0; i < 20; i++) gateway.input(PORT.console, stage.random.bytes(100))
      return 'console'
    },
  },
} as const satisfies Readonly<Record<string, Fault>>

export type FaultName = keyof typeof FAULTS
export const FAULT_NAMES = Object.keys(FAULTS) as readonly FaultName[]
