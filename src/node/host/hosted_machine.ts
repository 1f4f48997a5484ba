/**
 * A machine's part at one host, as the host's daemon keeps it: a directory with everything that its process is started
 * with, and the supervisor of that process.
 *
 *     ROOT/MACHINE/
 *         state.json      what is to become of it: new, wanted, halted or ended
 *         host.json       how its process is started (host_config.ts)
 *         machine.json    what the machine is (machine_file.ts)
 *         secret          what the machine's processes know each other by
 *         copy/MACHINE/   its disk, and the lock of its process (src/host/machine_directory.ts)
 *         host.log        what its process says
 *
 *     new --start--> wanted --its process ends with 0--> ended        wanted or ended --start--> wanted
 *                       '-----------end----------------> halted --start--> wanted
 *
 * A daemon that was killed leaves its processes running. The next one finds their locks held and waits until they are
 * free: only then does it start a process of its own.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { FormatError, UserError } from '../../base/errors.ts'
import { fileError } from '../../host/file_error.ts'
import { LockFile } from '../../host/lock_file.ts'
import type { CreateRequest, MachineState } from './daemon_protocol.ts'
import { type HostConfig, hostConfigSchema } from './host_config.ts'
import { decodeMachineFile, writeMachineFile } from './machine_file.ts'
import type { ProgramStart } from './pair_run.ts'
import { endProcess } from './process_end.ts'
import { readStoredJson, writeStoredJson } from './stored_json.ts'
import { Supervisor } from './supervisor.ts'

/** How often the lock of a process that an earlier daemon has started is looked at. */
const LOOK_MS = 200
/** How long such a process may take to end when it is asked to. */
const TERM_MS = 5000

const stateSchema = z.strictObject({
  kind: z.literal('understudy-hosted-machine'),
  version: z.literal(1),
  state: z.enum(['new', 'wanted', 'halted', 'ended']),
})
type Wish = z.infer<typeof stateSchema>['state']

/** What a daemon brings to its machines. */
export interface HostPlace {
  /** The directory of all machines of this host. */
  readonly root: string
  /** The host's name. */
  readonly host: string
  /** The address where processes listen. */
  readonly listenHost: string
  readonly program: ProgramStart
  readonly onNotice: (text: string) => void
}

export class HostedMachine {
  readonly name: string
  /** How its process is started. */
  readonly config: HostConfig
  readonly #place: HostPlace
  #wish: Wish
  #supervisor: Supervisor | undefined
  /** Of a process that an earlier daemon has started. */
  #leftOver: { readonly pid: number | undefined } | undefined
  #looking: NodeJS.Timeout | undefined

  private constructor(place: HostPlace, config: HostConfig, wish: Wish) {
    this.#place = place
    this.name = config.machine
    this.config = config
    this.#wish = wish
  }

  /** Reads what is there of a machine. Throws a UserError if that cannot be used. */
  static async open(place: HostPlace, name: string): Promise<HostedMachine> {
    const directory = join(place.root, name)
    const config = readStoredJson(join(directory, 'host.json'), hostConfigSchema)
    const { state } = readStoredJson(join(directory, 'state.json'), stateSchema)
    if (config.machine !== name) throw new FormatError(`${directory}: of machine ${config.machine}`)
    const machine = new HostedMachine(place, config, state)
    machine.#leftOver = await machine.#lockHolder()
    return machine
  }

  /** Makes a machine's directory, in the place of one that was never started. Throws a UserError if it cannot be. */
  static async create(place: HostPlace, request: CreateRequest): Promise<HostedMachine> {
    const { machine: name, secret, definition } = request
    const directory = join(place.root, name)
    const file = decodeMachineFile(definition, `machine ${name}`)
    if (file.name !== name) throw new UserError(`the definition of machine ${name} is that of ${file.name}`)
    await rm(directory, { recursive: true, force: true })
    const config = configOf(place, request, directory)
    try {
      mkdirSync(join(directory, 'copy'), { recursive: true, mode: 0o700 })
      await writeFile(config.credentials.secretFile, `${secret}\n`, { mode: 0o600 })
    } catch (error) {
      throw fileError(error, 'make', directory)
    }
    await writeMachineFile(config.machineFile, file)
    await writeStoredJson(join(directory, 'host.json'), config)
    const machine = new HostedMachine(place, config, 'new')
    await machine.#setWish('new')
    return machine
  }

  get isNew(): boolean {
    return this.#wish === 'new'
  }

  /** Ports that are its own, whether it runs or not. */
  get ports(): readonly number[] {
    const { listen, heartbeatPort, metricsPort } = this.config
    return [listen.port, heartbeatPort, metricsPort].filter((one) => one !== undefined)
  }

  get state(): MachineState {
    return { machine: this.name, ...this.#running() }
  }

  /** Goes on as the last daemon has left it. */
  resume(): void {
    if (this.#wish === 'wanted') this.#run(false)
  }

  async start(mayRestart: boolean): Promise<void> {
    const isRunning = this.#supervisor !== undefined || this.#looking !== undefined
    await this.#setWish('wanted')
    if (!isRunning) this.#run(mayRestart)
  }

  /** Ends its process, which is not started again. */
  async end(): Promise<void> {
    if (this.#wish === 'wanted') await this.#setWish('halted')
    await this.close()
  }

  /** Ends its process; the next daemon starts it again. */
  async close(): Promise<void> {
    clearInterval(this.#looking)
    this.#looking = undefined
    await this.#supervisor?.stop()
    this.#supervisor = undefined
    await this.#endLeftOver()
  }

  async remove(): Promise<void> {
    await rm(join(this.#place.root, this.name), { recursive: true, force: true })
  }

  #running(): Omit<MachineState, 'machine'> {
    if (this.#looking !== undefined) return { state: 'left over', pid: this.#leftOver?.pid ?? null }
    if (this.#wish === 'ended') return { state: 'ended', pid: null }
    if (this.#supervisor === undefined) return { state: 'idle', pid: null }
    const pid = this.#supervisor.pid(this.name) ?? null
    return { state: pid === null ? 'waiting' : 'running', pid }
  }

  /** As soon as no process of it runs. */
  #run(mayRestart: boolean): void {
    if (this.#leftOver === undefined) return this.#supervise(mayRestart)
    const { pid } = this.#leftOver
    this.#say(`process ${pid ?? 'of another place'} runs already, and is waited for`)
    let isLooking = false
    this.#looking = setInterval(async () => {
      if (isLooking) return
      isLooking = true
      this.#leftOver = await this.#lockHolder()
      isLooking = false
      if (this.#leftOver !== undefined || this.#looking === undefined) return
      clearInterval(this.#looking)
      this.#looking = undefined
      this.#say('the process that ran already has ended')
      // It may have ended because the machine was stopped, which its successor finds out.
      this.#supervise(false)
    }, LOOK_MS)
  }

  #supervise(mayRestart: boolean): void {
    const { program, root } = this.#place
    const directory = join(root, this.name)
    const config = ['host', '--config', join(directory, 'host.json')]
    const spec = {
      ...{ name: this.name, command: program.command, logFile: join(directory, 'host.log') },
      parameters: (isFirst: boolean) => [
        ...[...program.parameters, ...config],
        ...(isFirst && mayRestart ? ['--restart'] : []),
      ],
    }
    this.#supervisor = new Supervisor([spec], {
      onStarted: (_, pid) => this.#say(`process ${pid} runs`),
      onEnded: (_, how, isDone) => this.#onEnded(how, isDone),
    })
    this.#supervisor.start()
  }

  #onEnded(how: string, isDone: boolean): void {
    if (!isDone) return this.#say(`its process has ended (${how}) and is started again`)
    this.#supervisor = undefined
    this.#say('is stopped')
    this.#setWish('ended').catch((error: unknown) => this.#say((error as Error).message))
  }

  async #setWish(state: Wish): Promise<void> {
    this.#wish = state
    const path = join(this.#place.root, this.name, 'state.json')
    await writeStoredJson(path, { kind: 'understudy-hosted-machine', version: 1, state })
  }

  /** A lock that cannot be read counts as held by somebody: its process would be refused as well. */
  async #lockHolder(): Promise<{ readonly pid: number | undefined } | undefined> {
    const path = join(this.config.directory, this.name, 'lock')
    if (!existsSync(path)) return undefined
    return LockFile.holder(path).catch(() => ({ pid: undefined }))
  }

  async #endLeftOver(): Promise<void> {
    this.#leftOver = await this.#lockHolder()
    const pid = this.#leftOver?.pid
    if (pid === undefined) return
    await endProcess(pid, TERM_MS, async () => (await this.#lockHolder())?.pid !== pid)
    this.#leftOver = undefined
  }

  #say(text: string): void {
    this.#place.onNotice(`machine ${this.name}: ${text}`)
  }
}

function configOf(
  { host, listenHost }: HostPlace,
  request: CreateRequest,
  directory: string,
): HostConfig & { readonly credentials: { readonly secretFile: string } } {
  const { machine, port, heartbeatPort, metricsPort, peers, arbiter } = request
  const { network, mayCreate, settings, allowFaults, isRecorded } = request
  return {
    ...{ kind: 'understudy-host', version: 1, machine, host },
    ...{ directory: join(directory, 'copy'), machineFile: join(directory, 'machine.json') },
    ...{ listen: { host: listenHost, port }, heartbeatPort, metricsPort, peers, arbiter },
    ...{ credentials: { secretFile: join(directory, 'secret') }, network, mayCreate, settings },
    ...(allowFaults ? { allowFaults } : {}),
    ...(isRecorded ? { recordingDirectory: join(directory, 'recordings') } : {}),
  }
}
