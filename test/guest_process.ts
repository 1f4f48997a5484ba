/** `understudy boot` as a process of its own, with a guest's console at its streams. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { GuestConsole } from './guest_console.ts'
import { testEnvironment } from './system_image.ts'

export const launcher = fileURLToPath(new URL('../understudy', import.meta.url))

const KIB = 1024
/** Far above what any run takes: a hang becomes a failure. */
const RUN_MS_MAX = 240_000
/** Clock ticks a second in /proc (sysconf(_SC_CLK_TCK), which is 100 wherever Linux runs). */
const TICKS_PER_SECOND = 100

export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Where and how a process runs, unless it is as the test itself. */
export interface ProcessOptions {
  readonly environment?: NodeJS.ProcessEnv
  readonly directory?: string
}

/** Runs `understudy` to its end. */
export function understudy(parameters: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  const child = start(parameters, options)
  child.stdin!.end()
  const timer = setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX)
  return endOf(child).finally(() => clearTimeout(timer))
}

/** A guest with a shell on its console. */
export class GuestProcess {
  readonly console: GuestConsole
  readonly child: ChildProcess
  readonly ended: Promise<Ended>

  constructor(parameters: readonly string[], options: ProcessOptions = {}) {
    this.child = start(['boot', ...parameters], options)
    this.console = new GuestConsole((keys) => this.child.stdin!.write(keys))
    this.child.stdout!.on('data', (bytes: Buffer) => this.console.output(bytes))
    this.ended = endOf(this.child)
    void this.ended.then(({ status, stderr }) => this.console.end(`status ${status}: ${stderr}`))
  }

  /** Seconds of processor time that the process and its threads have taken. */
  get cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  }

  /** Resident memory: of the guest's RAM, which is the mapping of `ramBytes` (and guards) or more, and of the rest. */
  residentBytes(ramBytes: number): { readonly guest: number; readonly other: number } {
    let [guest, other, isGuest] = [0, 0, false]
    for (const line of readFileSync(`/proc/${this.child.pid}/smaps`, 'utf8').split('\n')) {
      const range = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line)
      if (range !== null) isGuest = Number(`0x${range[2]}`) - Number(`0x${range[1]}`) === ramBytes
      else if (/^[0-9a-f]+-/.test(line)) isGuest = false
      const resident = /^Rss: +(\d+) kB/.exec(line)
      if (resident === null) continue
      if (isGuest) guest += Number(resident[1]) * KIB
      else other += Number(resident[1]) * KIB
    }
    return { guest, other }
  }
}

function start(
  parameters: readonly string[],
  { environment = testEnvironment, directory }: ProcessOptions,
): ChildProcess {
  return spawn(launcher, parameters, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environment,
    ...(directory === undefined ? {} : { cwd: directory }),
  })
}

function endOf(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', '']
  child.stdout!.on('data', (chunk: Buffer) => {
    stdout += chunk.toString('latin1')
  })
  child.stderr!.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  // A guest that has ended reads no more keys.
  child.stdin!.on('error', () => {})
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

/** Names in a directory that look like something unfinished, or like a lock. */
export function leftovers(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.tmp$|(^|\/)lock$/.test(name),
  )
}

/** Why a program of this machine cannot be used by a test, or false. Under CI everything has to be there. */
export function lacks(program: string): string | false {
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`
  const found = spawnSync('sh', ['-c', `command -v ${program}`], { env: { PATH: path } }).status === 0
  if (found || process.env['CI'] === 'true') return false
  console.error(`NOT TESTED: ${program} is not installed`)
  return `${program} is not installed`
}
