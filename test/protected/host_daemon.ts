/** A host's daemon as its user runs it: `understudy host --listen`, in a UNDERSTUDY_HOME of its own. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { launcher } from '../guest_process.ts'
import { testHome } from '../system_image.ts'
import { hasEnded, signal } from './pair.ts'

const POLL_MS = 50
const WAIT_MS_MAX = 120_000

export class HostDaemonProcess {
  readonly name: string
  readonly home: string
  readonly #secretFile: string
  #child: ChildProcess | undefined
  #log = ''
  #port = 0
  readonly #onExit = (): void => void this.#child?.kill('SIGKILL')

  /** Nothing runs yet. */
  constructor(folder: string, name: string, secretFile: string) {
    this.name = name
    this.home = join(folder, name)
    this.#secretFile = secretFile
    mkdirSync(this.home)
    symlinkSync(join(testHome, 'images'), join(this.home, 'images'))
    process.once('exit', this.#onExit)
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`
  }

  get port(): number {
    return this.#port
  }

  /** What all daemons of this host have said. */
  get log(): string {
    return this.#log
  }

  /** Starts a daemon, at the port that the last one had. */
  async start(): Promise<void> {
    const words = ['host', '--listen', this.address, '--name', this.name, '--secret', this.#secretFile]
    const before = this.#log.length
    this.#child = spawn(launcher, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, UNDERSTUDY_HOME: this.home },
    })
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on('data', (bytes: Buffer) => {
        this.#log += bytes.toString()
      })
    const listening = /listens at 127\.0\.0\.1:(\d+)/
    await this.until('listening', () => listening.test(this.#log.slice(before)))
    this.#port = Number(listening.exec(this.#log.slice(before))![1])
  }

  /** It dies, and leaves its processes running. */
  async kill(): Promise<void> {
    assert.ok(this.#child !== undefined)
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
    this.#child = undefined
  }

  /** It ends as it is told to, and its processes with it. */
  async stop(): Promise<void> {
    if (this.#child === undefined) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const [status] = await ended
    this.#child = undefined
    assert.equal(status, 0, this.#log)
  }

  async until(what: string, isSo: () => boolean): Promise<void> {
    for (const end = performance.now() + WAIT_MS_MAX; !isSo(); ) {
      if (performance.now() >= end) assert.fail(`host ${this.name}: not ${what}: ${this.logs()}`)
      await setTimeout(POLL_MS)
    }
  }

  /** The names of the machines that it keeps. */
  get machines(): string[] {
    const root = join(this.home, 'host', this.name, 'machines')
    return existsSync(root) ? readdirSync(root) : []
  }

  /** What is to become of a machine. */
  state(machine: string): string {
    const path = join(this.home, 'host', this.name, 'machines', machine, 'state.json')
    return (JSON.parse(readFileSync(path, 'utf8')) as { state: string }).state
  }

  /** What it and its machines have said. */
  logs(): string {
    const root = join(this.home, 'host', this.name, 'machines')
    const text = (machine: string): string => {
      try {
        return `\n--- ${machine} at ${this.name}\n${readFileSync(join(root, machine, 'host.log'), 'utf8').slice(-3000)}`
      } catch {
        return ''
      }
    }
    return `\n--- ${this.name}\n${this.#log.slice(-3000)}${this.machines.map(text).join('')}`
  }

  /** Ends it and these processes of machines, whether it runs or not. */
  async end(pids: readonly number[]): Promise<void> {
    process.off('exit', this.#onExit)
    await this.stop()
    for (const pid of pids) signal(pid, 'SIGKILL')
    await this.until('gone', () => pids.every(hasEnded))
  }
}
