/**
 * A protected machine as its user runs it: through the command line, in a UNDERSTUDY_HOME of its own that shares the
 * tests' image. Every process of it carries that directory in its environment; by that mark they are found in /proc, and
 * ended one by one when the test is over, however it ends.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { ControlClient } from '../../src/host/control_client.ts'
import { Pair } from '../../src/node/host/pair.ts'
import { PairControl, type PairStatus } from '../../src/node/host/pair_control.ts'
import { launcher, understudy } from '../guest_process.ts'
import { type SystemImage, testHome } from '../system_image.ts'
import { RedisClient } from './redis_client.ts'

const NAME = 'pair'
const POLL_MS = 200
/** Far above what anything here takes on a slow machine: a hang becomes a failure. */
const WAIT_MS_MAX = 240_000
/** Of each log, when something does not come. */
const LOG_CHARACTERS = 3000
const REDIS_PORT = 6379

export class ProtectedPair {
  /** Where clients reach the guest's Redis. */
  readonly port: number
  readonly home: string
  readonly environment: NodeJS.ProcessEnv
  readonly #image: string
  readonly #consoles: ChildProcess[] = []
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#killAll()
    process.kill(process.pid, signal)
  }
  readonly #onExit = (): void => this.#killAll()

  private constructor(image: string, home: string, port: number) {
    this.#image = image
    this.home = home
    this.port = port
    this.environment = { ...process.env, UNDERSTUDY_HOME: home }
    process.once('exit', this.#onExit)
    process.once('SIGTERM', this.#onSignal)
    process.once('SIGINT', this.#onSignal)
  }

  /** A new machine, started; `options` are those of `understudy run`. */
  static async start(image: SystemImage, options: readonly string[] = []): Promise<ProtectedPair> {
    const home = mkdtempSync(join(tmpdir(), 'understudy-pair-'))
    mkdirSync(join(home, 'machines'))
    symlinkSync(join(testHome, 'images'), join(home, 'images'))
    const pair = new ProtectedPair(image.name, home, await freePort())
    try {
      await pair.#run([
        '-p',
        `127.0.0.1:${pair.port}:${REDIS_PORT}`,
        ...(options.includes('--load') ? [] : ['--append', 'quiet']),
        ...options,
      ])
    } catch (error) {
      await pair.end()
      throw error
    }
    return pair
  }

  get directory(): string {
    return join(this.home, 'machines', NAME)
  }

  /** Starts the machine again, after it was stopped or all its processes were killed. */
  startAgain(): Promise<void> {
    return this.#run([])
  }

  /** Runs `understudy COMMAND NAME`, which must succeed. */
  async command(command: string, options: readonly string[] = []): Promise<string> {
    const { status, stdout, stderr } = await understudy([command, NAME, ...options], {
      environment: this.environment,
    })
    assert.equal(status, 0, `understudy ${command}: ${stderr}${stdout}${this.logs()}`)
    return stdout
  }

  /** What `understudy status` shows, without a process for it: it is asked for all the time. */
  async status(): Promise<PairStatus> {
    return (await this.#openControl()).status()
  }

  /** Waits until the status is as wanted, and returns it; `what` names that in a failure. */
  async until(what: string, isWanted: (status: PairStatus) => boolean): Promise<PairStatus> {
    for (const end = performance.now() + WAIT_MS_MAX; ; ) {
      const status = await this.status()
      if (isWanted(status)) return status
      const found = `${status.protection} (${status.reason}), epoch ${status.epoch}`
      assert.ok(performance.now() < end, `the pair does not become ${what}: ${found}${this.logs()}`)
      await setTimeout(POLL_MS)
    }
  }

  /** Waits for protection; `beyond` is an epoch that must be past. */
  untilProtected(beyond = 0): Promise<PairStatus> {
    return this.until(
      'protected',
      ({ protection, epoch, backup }) =>
        protection === 'protected' && backup !== null && (epoch ?? 0) > beyond,
    )
  }

  /** Waits until the guest's Redis answers. */
  async untilServing(): Promise<void> {
    for (const end = performance.now() + WAIT_MS_MAX; ; ) {
      if (await isServing(this.port)) return
      assert.ok(performance.now() < end, `Redis does not answer${this.logs()}`)
      await setTimeout(POLL_MS)
    }
  }

  /** A console of the machine: its process, with the guest's keyboard and screen at its streams. */
  openConsole(): ChildProcess {
    const child = spawn(launcher, ['console', NAME], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: this.environment,
    })
    child.stdin.on('error', () => {})
    this.#consoles.push(child)
    return child
  }

  /** The process that was started last under this name, as the supervisor's child. */
  pid(process: 'gateway' | 'supervisor'): number {
    const found = this.#processes().find(({ words }) =>
      process === 'supervisor'
        ? words.includes('supervise')
        : words.includes('gateway') && words.includes(join(this.directory, 'gateway.json')),
    )
    assert.ok(found !== undefined, `there is no process ${process}${this.logs()}`)
    return found.pid
  }

  /** The port on which a process of the pair listens for the others. */
  listenPort(name: string): number {
    const path = join(this.directory, `${name}.json`)
    return (JSON.parse(readFileSync(path, 'utf8')) as { listen: { port: number } }).listen.port
  }

  /**
   * What `understudy status` says in a home where this machine has another secret, its standard error included.
   */
  async statusWithWrongSecret(): Promise<string> {
    const home = join(this.home, 'stranger')
    cpSync(this.directory, join(home, 'machines', NAME), {
      recursive: true,
      filter: (path) => !/\/(a|b|arbiter)$|\/lock$|\.log$/.test(path),
    })
    writeFileSync(join(home, 'machines', NAME, 'secret'), `${'0'.repeat(64)}\n`, { mode: 0o600 })
    const environment = { ...process.env, UNDERSTUDY_HOME: home }
    const { stdout, stderr } = await understudy(['status', NAME], { environment })
    return `${stdout}${stderr}`
  }

  /** The ends of all logs, for failures; nothing where the machine could not be made. */
  logs(): string {
    if (!existsSync(this.directory)) return ''
    const names = readdirSync(this.directory).filter((name) => name.endsWith('.log'))
    const ends = names.map(
      (name) => `\n--- ${name}\n${readFileSync(join(this.directory, name), 'utf8').slice(-LOG_CHARACTERS)}`,
    )
    return ends.join('')
  }

  log(process: string): string {
    return readFileSync(join(this.directory, `${process}.log`), 'utf8')
  }

  /** Waits until a process's log matches, from that character on. */
  async untilLogged(
    process: string,
    pattern: RegExp,
    from = 0,
    waitMsMax = WAIT_MS_MAX,
  ): Promise<RegExpExecArray> {
    for (const end = performance.now() + waitMsMax; ; ) {
      const found = pattern.exec(this.log(process).slice(from))
      if (found !== null) return found
      assert.ok(performance.now() < end, `${process}.log does not come to say ${pattern}${this.logs()}`)
      await setTimeout(POLL_MS / 4)
    }
  }

  /** A control connection to a host's process; whoever asks for it closes it. */
  async connectTo(host: string): Promise<ControlClient> {
    const client = await (await this.#openControl()).connect(host)
    assert.ok(client !== undefined, `no connection to host ${host}${this.logs()}`)
    return client
  }

  /** Ends every process, waits until they are gone, and removes everything. */
  async end(): Promise<void> {
    process.off('exit', this.#onExit)
    process.off('SIGTERM', this.#onSignal)
    process.off('SIGINT', this.#onSignal)
    for (const child of this.#consoles) child.kill('SIGKILL')
    await this.killEverything()
    rmSync(this.home, { recursive: true, force: true })
  }

  /** The power fails: every process is killed at once, and is gone when this resolves. */
  async killEverything(): Promise<void> {
    const killed = new Set<number>()
    for (;;) {
      const living = this.#processes()
      for (const { pid } of living) killed.add(pid)
      // A dying process loses its environment some time before it is gone.
      if (living.length === 0 && [...killed].every(hasEnded)) return
      this.#killAll()
      await setTimeout(POLL_MS / 4)
    }
  }

  #openControl(): Promise<PairControl> {
    return PairControl.open(Pair.open(join(this.home, 'machines'), NAME))
  }

  async #run(options: readonly string[]): Promise<void> {
    const words = ['run', this.#image, '--name', NAME, ...options, '--detach']
    const { status, stderr } = await understudy(words, { environment: this.environment })
    assert.equal(status, 0, `understudy run: ${stderr}${this.logs()}`)
  }

  /** The supervisor first, which would start the others again. */
  #killAll(): void {
    const isSupervisor = ({ words }: MarkedProcess): number => (words.includes('supervise') ? 0 : 1)
    for (const { pid } of this.#processes().sort((a, b) => isSupervisor(a) - isSupervisor(b))) {
      signal(pid, 'SIGKILL')
    }
  }

  #processes(): MarkedProcess[] {
    return markedProcesses(`UNDERSTUDY_HOME=${this.home}`)
  }
}

interface MarkedProcess {
  readonly pid: number
  readonly words: readonly string[]
}

/** Living processes that carry this word in their environment. */
function markedProcesses(mark: string): MarkedProcess[] {
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
  return pids.flatMap((pid) => {
    const isMarked = wordsOf(`/proc/${pid}/environ`).includes(mark)
    return isMarked ? [{ pid: Number(pid), words: wordsOf(`/proc/${pid}/cmdline`) }] : []
  })
}

/** What the file of a process has, or nothing: it may end at any moment, or be another user's. */
function wordsOf(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\0')
  } catch {
    return []
  }
}

/** Whether nothing of a process runs any more. Its parent may not have asked for its status. */
export function hasEnded(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const isZombie = stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
    return isZombie && readdirSync(`/proc/${pid}/task`).length <= 1
  } catch {
    return true
  }
}

/** Sends a signal to a process, unless it has ended. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function isServing(port: number): Promise<boolean> {
  const deadline = new AbortController()
  let client: RedisClient | undefined
  try {
    client = await RedisClient.connect(port)
    const late = setTimeout(5000, undefined, { signal: deadline.signal }).catch(() => undefined)
    const answer = await Promise.race([client.command('PING'), late])
    return answer?.reply === 'PONG'
  } catch {
    return false
  } finally {
    deadline.abort()
    client?.close()
  }
}

/** A port of the loopback that nobody uses at the moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  return port
}
