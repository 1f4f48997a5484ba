/**
 * What protection costs, and what a failover costs: a pair on this computer, with Redis in the guest, through the gateway.
 * Everything is measured on the same machine in the same run: first protected, then alone, when supervisor and backup
 * have been killed.
 */
import type { ChildProcess } from 'node:child_process'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { PairStatus } from '../src/node/host/pair_control.ts'
import { ProtectedPair, signal } from '../test/protected/pair.ts'
import { RedisClient } from '../test/protected/redis_client.ts'
import { systemImage } from '../test/system_image.ts'
import type { BenchOptions } from './guest_parts.ts'
import { type Figure, figure, median } from './results.ts'

const IDLE_MS = 10_000
const ANSWER_MS = 120_000
const LOAD_MS = 5000
/** Arithmetic in the guest that takes some seconds. */
const LOOP = 'local x = 0 for i = 1, 12000000 do x = x + i % 7 end return x'
const FORKS = 100
/** Programs that the guest's shell starts, and waits for. */
const EXECS = 100
const LAG_LOOK_MS = 500
/** Whatever is still waited for then is the outage's. */
const OUTAGE_MS = 400
const OUTAGES = 20

/** What one pass over the machine finds. */
interface Pass {
  readonly loopMs: number
  readonly forkMs: number
  readonly execMs: number
  readonly setsPerSecond: number
  readonly getsPerSecond: number
  readonly logBytesPerSet: number
  /** Bytes of log a second under each load. */
  readonly log: Readonly<Record<'arithmetic' | 'fork' | 'exec' | 'SET' | 'GET', number>>
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
    const idle = await timed(pair, () => setTimeout(IDLE_MS))
    say('protected: under load')
    const lags = new LagSamples(pair)
    const passes = await times(repeat, () => measurePass(pair))
    const lag = await lags.end()
    const outages: Outage[] = []
    for (let round = 0; round < OUTAGES; round++) {
      say(`protected: outage ${round + 1} of ${OUTAGES}`)
      outages.push(await measureOutage(pair))
    }
    await pair.untilProtected()
    say('protected: alone')
    const alone = await aloneIn(pair, () => times(repeat, () => measurePass(pair)))
    say('protected: alone beside a busy core')
    const beside = await besideBusyCore(() => times(repeat, () => measureLoop(pair)))
    return figuresOf({ idle: idle.bytesPerSecond, passes, alone, beside, outages, lag })
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
  const shell = await GuestShell.open(pair)
  try {
    const loop = await timed(pair, () => client.command('EVAL', LOOP, '0'))
    // Each forks the whole server, and the child writes and exits.
    const fork = await timed(pair, () => forks(client))
    const exec = await timed(pair, () =>
      shell.run(`for i in $(seq ${EXECS}); do /bin/true; done; echo over`, 'over'),
    )
    const set = await timed(pair, () => countFor(LOAD_MS, () => client.command('SET', 'key', 'value')))
    const { outputDelayMs: delay } = await pair.status()
    const get = await timed(pair, () => countFor(LOAD_MS, () => client.command('GET', 'key')))
    const perSecond = (count: number): number => (count * 1000) / LOAD_MS
    return {
      ...{ loopMs: loop.ms, forkMs: fork.ms, execMs: exec.ms },
      ...{ setsPerSecond: perSecond(set.result), getsPerSecond: perSecond(get.result) },
      ...{ logBytesPerSet: set.bytes / set.result, delay },
      log: {
        ...{ arithmetic: loop.bytesPerSecond, fork: fork.bytesPerSecond, exec: exec.bytesPerSecond },
        ...{ SET: set.bytesPerSecond, GET: get.bytesPerSecond },
      },
    }
  } finally {
    client.close()
    shell.close()
  }
}

interface Timed<T> {
  readonly result: T
  readonly ms: number
  /** Of log that the primary has made meanwhile. */
  readonly bytes: number
  readonly bytesPerSecond: number
}

async function timed<T>(pair: ProtectedPair, action: () => Promise<T>): Promise<Timed<T>> {
  const before = await loggedBytes(pair)
  const start = performance.now()
  const result = await action()
  const ms = performance.now() - start
  const bytes = (await loggedBytes(pair)) - before
  return { result, ms, bytes, bytesPerSecond: (bytes * 1000) / ms }
}

/** A shell at the guest's console. */
class GuestShell {
  readonly #console: ChildProcess
  #text = ''

  private constructor(console: ChildProcess) {
    this.#console = console
    console.stdout!.on('data', (bytes: Buffer) => {
      this.#text += bytes.toString('latin1')
    })
  }

  static async open(pair: ProtectedPair): Promise<GuestShell> {
    const shell = new GuestShell(pair.openConsole())
    await shell.run('echo here', 'here')
    return shell
  }

  /** Types a line, and waits until `answer` stands on a line of its own, which is not the line that was typed. */
  async run(line: string, answer: string): Promise<void> {
    this.#text = ''
    this.#console.stdin!.write(`${line}\r`)
    const end = performance.now() + ANSWER_MS
    // The shell may put codes of its own in front of the answer, and a return behind them.
    const found = new RegExp(`[\r\n]${answer}\r`)
    while (!found.test(this.#text)) {
      if (performance.now() > end) throw new Error(`the guest's shell does not answer: ${this.#text}`)
      await setTimeout(1)
    }
  }

  close(): void {
    this.#console.kill('SIGTERM')
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

async function loggedBytes(pair: ProtectedPair): Promise<number> {
  const { hosts } = await pair.status()
  return hosts.find(({ role }) => role === 'primary')?.logBytes ?? 0
}

/** Asks how far the backup is behind, twice a second: asking takes processor time from what is measured. */
class LagSamples {
  readonly #samples: number[] = []
  readonly #asking: Promise<void>
  #isOver = false

  constructor(pair: ProtectedPair) {
    this.#asking = this.#ask(pair)
  }

  /** All that was found, in rising order. */
  async end(): Promise<number[]> {
    this.#isOver = true
    await this.#asking
    return this.#samples.toSorted((a, b) => a - b)
  }

  async #ask(pair: ProtectedPair): Promise<void> {
    while (!this.#isOver) {
      const { lagMs } = await pair.status()
      if (lagMs !== null) this.#samples.push(lagMs)
      await setTimeout(LAG_LOOK_MS)
    }
  }
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
  // Soon after, the machine stands still for the copy that joins: that is another figure.
  await setTimeout(OUTAGE_MS)
  isOver = true
  await asking
  client.close()
  const after = await pair.untilProtected(before.epoch ?? 0)
  const protectedMs = performance.now() - start
  const stopMs = after.hosts.find(({ role }) => role === 'primary')?.joinStopMs ?? 0
  return { pauseMs, protectedMs, stopMs }
}

/** Milliseconds of arithmetic. */
async function measureLoop(pair: ProtectedPair): Promise<number> {
  const client = await RedisClient.connect(pair.port)
  try {
    return (await timed(pair, () => client.command('EVAL', LOOP, '0'))).ms
  } finally {
    client.close()
  }
}

/**
 * Measures while another core computes something else: what is lost then is lost to the neighbour (its share of caches, of
 * power, or of a core that both only seem to have to themselves), and not to protection.
 */
async function besideBusyCore<T>(measure: () => Promise<T>): Promise<T> {
  const busy = new Worker('for (let x = 1n; ; ) x = (x * 6364136223846793005n + 1n) & 0xffffffffffffn', {
    eval: true,
  })
  try {
    return await measure()
  } finally {
    await busy.terminate()
  }
}

/** Measures with the primary alone: nobody starts the backup again. */
async function aloneIn<T>(pair: ProtectedPair, measure: () => Promise<T>): Promise<T> {
  const { backup } = await pair.status()
  signal(pair.pid('supervisor'), 'SIGKILL')
  if (backup !== null) signal(backup.pid, 'SIGKILL')
  await pair.until('alone', (status) => status.backup === null && status.reason === 'backup lost')
  return measure()
}

interface Found {
  /** Bytes of log a second. */
  readonly idle: number
  readonly passes: readonly Pass[]
  readonly alone: readonly Pass[]
  /** Milliseconds of arithmetic, alone beside a busy core. */
  readonly beside: readonly number[]
  readonly outages: readonly Outage[]
  /** How far the backup was behind while there was load, in milliseconds, in rising order. */
  readonly lag: readonly number[]
}

function figuresOf({ idle, passes, alone, beside, outages, lag }: Found): Figure[] {
  const part = 'protected'
  const of = (name: string, unit: string, samples: readonly number[], isRate = false): Figure =>
    figure({ part, name, unit, isRate }, samples)
  const ratio = (name: string, pick: (pass: Pass) => number, isRate: boolean): Figure => {
    const usual = median(alone.map(pick))
    const samples = passes.map((pass) => (isRate ? pick(pass) / usual : usual / pick(pass)))
    return of(`${name}, protected/alone`, 'ratio', samples, true)
  }
  const delays = passes.map(({ delay }) => delay ?? { p50: 0, p99: 0 })
  return [
    ratio('arithmetic', ({ loopMs }) => loopMs, false),
    of(
      'arithmetic, alone beside a busy core/alone',
      'ratio',
      beside.map((ms) => median(alone.map(({ loopMs }) => loopMs)) / ms),
      true,
    ),
    ratio('fork', ({ forkMs }) => forkMs, false),
    ratio('fork and exec', ({ execMs }) => execMs, false),
    ratio('SET, one client', ({ setsPerSecond }) => setsPerSecond, true),
    ratio('GET, one client', ({ getsPerSecond }) => getsPerSecond, true),
    of(
      'SET, one client',
      '1/s',
      passes.map(({ setsPerSecond }) => setsPerSecond),
      true,
    ),
    of('log, idle', 'bytes/s', [idle]),
    ...(['arithmetic', 'fork', 'exec', 'SET', 'GET'] as const).map((load) =>
      of(
        `log, ${load}`,
        'bytes/s',
        passes.map(({ log }) => log[load]),
      ),
    ),
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
    of('lag under load, p50', 'ms', [lag[Math.floor(lag.length / 2)] ?? 0]),
    of('lag under load, p99', 'ms', [lag[Math.floor(lag.length * 0.99)] ?? 0]),
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
