/**
 * What protection costs, and what a failover costs: a pair on this computer, with Redis in the guest, through the gateway.
 * Everything is measured on the same machine in the same run: first protected, then alone, when supervisor and backup
 * have been killed.
 */
import { setTimeout } from 'node:timers/promises'
import type { PairStatus } from '../src/node/host/pair_control.ts'
import { ProtectedPair, signal } from '../test/protected/pair.ts'
import { RedisClient } from '../test/protected/redis_client.ts'
import { systemImage } from '../test/system_image.ts'
import type { BenchOptions } from './guest_parts.ts'
import { type Figure, figure } from './results.ts'

const IDLE_MS = 10_000
const LOAD_MS = 5000
/** Arithmetic in the guest that takes about a second. */
const LOOP = 'local x = 0 for i = 1, 4000000 do x = x + i % 7 end return x'
const FORKS = 100
const OUTAGES = 4

/** What one pass over the machine finds. */
interface Pass {
  readonly loopMs: number
  readonly forkMs: number
  readonly setsPerSecond: number
  readonly getsPerSecond: number
  readonly logBytesPerSet: number
  readonly delay: PairStatus['outputDelayMs']
}

/** Ratios, log, delays and outages of a protected machine. */
export async function measureProtected({ say, repeat }: BenchOptions): Promise<Figure[]> {
  const image = await systemImage()
  if ('missing' in image) throw new Error(image.missing)
  const pair = await ProtectedPair.start(image)
  try {
    say('protected: starting')
    await pair.untilServing()
    await pair.untilProtected()
    // What is cold takes longer, and is no property of either.
    await measurePass(pair)
    say('protected: idle')
    const idle = await logBytesWhile(pair, () => setTimeout(IDLE_MS))
    say('protected: under load')
    const passes = await times(repeat, () => measurePass(pair))
    const outages: Outage[] = []
    for (let round = 0; round < OUTAGES * repeat; round++) {
      say(`protected: outage ${round + 1} of ${OUTAGES * repeat}`)
      outages.push(await measureOutage(pair))
    }
    await pair.untilProtected()
    say('protected: alone')
    const alone = await aloneIn(pair, () => times(repeat, () => measurePass(pair)))
    return figuresOf((idle * 1000) / IDLE_MS, passes, alone, outages)
  } finally {
    await pair.end()
  }
}

async function times<T>(count: number, measure: () => Promise<T>): Promise<T[]> {
  const results: T[] = []
  for (let i = 0; i < count; i++) results.push(await measure())
  return results
}

async function measurePass(pair: ProtectedPair): Promise<Pass> {
  const client = await RedisClient.connect(pair.port)
  try {
    const timed = async (action: () => Promise<unknown>): Promise<number> => {
      const start = performance.now()
      await action()
      return performance.now() - start
    }
    const loopMs = await timed(() => client.command('EVAL', LOOP, '0'))
    // Each forks the whole server, and the child writes and exits.
    const forkMs = await timed(() => forks(client))
    let sets = 0
    const bytes = await logBytesWhile(pair, async () => {
      sets = await countFor(LOAD_MS, () => client.command('SET', 'key', 'value'))
    })
    const { outputDelayMs: delay } = await pair.status()
    const gets = await countFor(LOAD_MS, () => client.command('GET', 'key'))
    const perSecond = (count: number): number => (count * 1000) / LOAD_MS
    return {
      ...{ loopMs, forkMs, setsPerSecond: perSecond(sets), getsPerSecond: perSecond(gets) },
      ...{ logBytesPerSet: bytes / sets, delay },
    }
  } finally {
    client.close()
  }
}

async function forks(client: RedisClient): Promise<void> {
  for (let i = 0; i < FORKS / 20; i++) {
    await client.command('BGSAVE')
    for (;;) {
      const { reply } = await client.command('INFO', 'persistence')
      if (String(reply).includes('rdb_bgsave_in_progress:0')) break
    }
  }
}

async function countFor(ms: number, action: () => Promise<unknown>): Promise<number> {
  let count = 0
  for (const end = performance.now() + ms; performance.now() < end; count++) await action()
  return count
}

/** Bytes of log that the primary has made meanwhile. */
async function logBytesWhile(pair: ProtectedPair, action: () => Promise<unknown>): Promise<number> {
  const before = await loggedBytes(pair)
  await action()
  return (await loggedBytes(pair)) - before
}

async function loggedBytes(pair: ProtectedPair): Promise<number> {
  const { hosts } = await pair.status()
  return hosts.find(({ role }) => role === 'primary')?.logBytes ?? 0
}

interface Outage {
  readonly pauseMs: number
  readonly protectedMs: number
  readonly stopMs: number
}

/** Kills the primary under a client that asks all the time: its longest wait, and the time until protection is back. */
async function measureOutage(pair: ProtectedPair): Promise<Outage> {
  const before = await pair.untilProtected()
  const client = await RedisClient.connect(pair.port)
  let pauseMs = 0
  let isOver = false
  const asking = (async () => {
    while (!isOver) {
      const start = performance.now()
      await client.command('INCR', 'counter')
      pauseMs = Math.max(pauseMs, performance.now() - start)
    }
  })()
  await setTimeout(1000)
  pauseMs = 0
  const start = performance.now()
  signal(before.primary!.pid, 'SIGKILL')
  await setTimeout(2000)
  isOver = true
  await asking
  client.close()
  const after = await pair.untilProtected(before.epoch ?? 0)
  const protectedMs = performance.now() - start
  const stopMs = after.hosts.find(({ role }) => role === 'primary')?.joinStopMs ?? 0
  return { pauseMs, protectedMs, stopMs }
}

/** Measures with the primary alone: nobody starts the backup again. */
async function aloneIn<T>(pair: ProtectedPair, measure: () => Promise<T>): Promise<T> {
  const { backup } = await pair.status()
  signal(pair.pid('supervisor'), 'SIGKILL')
  if (backup !== null) signal(backup.pid, 'SIGKILL')
  await pair.until('alone', (status) => status.backup === null && status.reason === 'backup lost')
  return measure()
}

function figuresOf(
  idleBytes: number,
  passes: readonly Pass[],
  alone: readonly Pass[],
  outages: readonly Outage[],
): Figure[] {
  const part = 'protected'
  const of = (name: string, unit: string, samples: readonly number[], isRate = false): Figure =>
    figure({ part, name, unit, isRate }, samples)
  const ratio = (name: string, pick: (pass: Pass) => number, isRate: boolean): Figure => {
    const best = alone.map(pick).toSorted((a, b) => a - b)[Math.floor(alone.length / 2)]!
    const samples = passes.map((pass) => (isRate ? pick(pass) / best : best / pick(pass)))
    return of(`${name}, protected/alone`, 'ratio', samples, true)
  }
  const delays = passes.map(({ delay }) => delay ?? { p50: 0, p99: 0 })
  return [
    ratio('arithmetic', ({ loopMs }) => loopMs, false),
    ratio('fork', ({ forkMs }) => forkMs, false),
    ratio('SET, one client', ({ setsPerSecond }) => setsPerSecond, true),
    ratio('GET, one client', ({ getsPerSecond }) => getsPerSecond, true),
    of(
      'SET, one client',
      '1/s',
      passes.map(({ setsPerSecond }) => setsPerSecond),
      true,
    ),
    of('log, idle', 'bytes/s', [idleBytes]),
    of(
      'log of a SET',
      'bytes',
      passes.map(({ logBytesPerSet }) => logBytesPerSet),
    ),
    of(
      'output delay, p50',
      'ms',
      delays.map(({ p50 }) => p50),
    ),
    of(
      'output delay, p99',
      'ms',
      delays.map(({ p99 }) => p99),
    ),
    of(
      'outage at SIGKILL, p50 and all',
      'ms',
      outages.map(({ pauseMs }) => pauseMs),
    ),
    of(
      'protected again',
      'ms',
      outages.map(({ protectedMs }) => protectedMs),
    ),
    of(
      'stop for a joining copy',
      'ms',
      outages.map(({ stopMs }) => stopMs),
    ),
  ]
}
