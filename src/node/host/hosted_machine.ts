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
 *         host.pid        its process, for the next daemon
 *         host.log        what it says
 *
 *     new --start--> wanted --its process ends with 0--> ended        wanted or ended --start--> wanted
 *                       '-----------end----------------> halted --start--> wanted
 *
 * A daemon that was killed leaves its processes running, and the next one adopts them (supervisor.ts).
 */
import { mkdirSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { FormatError, UserError } from '../../base/errors.ts'
import { fileError } from '../../host/file_error.ts'
import type { CreateRequest, MachineState } from './daemon_protocol.ts'
import { type HostConfig, hostConfigSchema } from './host_config.ts'
import { decodeMachineFile, writeMachineFile } from './machine_file.ts'
import { notedProcess } from './pair_processes.ts'
import type { ProgramStart } from './pair_run.ts'
import { signalProcess } from './process_signal.ts'
import { readStoredJson, writeStoredJson } from './stored_json.ts'
import { Supervisor } from './supervisor.ts'

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
  /** The last write of what is to become of it; each waits for the one before. */
  #stored: Promise<void> = Promise.resolve()
  #supervisor: Supervisor | undefined

  private constructor(place: HostPlace, config: HostConfig, wish: Wish) {
    this.#place = place
    this.name = config.machine
    this.config = config
    this.#wish = wish
  }

  /** Reads what is there of a machine. Throws a UserError if that cannot be used. */
  static open(place: HostPlace, name: string): HostedMachine {
    const directory = join(place.root, name)
    const config = readStoredJson(join(directory, 'host.json'), hostConfigSchema)
    const { state } = readStoredJson(join(directory, 'state.json'), stateSchema)
    if (config.machine !== name) throw new FormatError(`${directory}: of machine ${config.machine}`)
    return new HostedMachine(place, config, state)
  }

  /** Makes a machine's directory, in the place of one that was never started. Throws a UserError if it cannot be. */
  static async create(place: HostPlace, request: CreateRequest): Promise<HostedMachine> {
    const { machine: name, secret, definition } = request
    const directory = join(place.root, name)
    const file = decodeMachineFile(definition, `machine ${name}`)
    if (file.name !== name) throw new UserError(`the definition of machine ${name} is that of ${file.name}`)
    await removeDirectory(directory)
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

  /** Whether its process runs, or is started again soon. */
  get isSupervised(): boolean {
    return this.#supervisor !== undefined
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
    if (this.#wish === 'wanted') return this.#supervise(false)
    // A daemon that was killed while it ended one.
    const noted = notedProcess(this.#path('host.pid'))
    if (noted !== undefined) signalProcess(noted.pid, 'SIGTERM')
  }

  async start(mayRestart: boolean): Promise<void> {
    await this.#setWish('wanted')
    if (this.#supervisor === undefined) this.#supervise(mayRestart)
  }

  /** Ends its process, which is not started again. */
  async end(): Promise<void> {
    try {
      if (this.#wish === 'wanted') await this.#setWish('halted')
    } finally {
      // On a full disk as well; the next daemon's process then finds out by itself whether the machine is stopped.
      await this.close()
    }
  }

  /** Ends its process; the next daemon starts it again. */
  async close(): Promise<void> {
    await this.#supervisor?.stop()
    this.#supervisor = undefined
    // Whoever could not write has been told.
    await this.#stored.catch(() => undefined)
  }

  /** Throws a UserError if the system does not let it. */
  async remove(): Promise<void> {
    await removeDirectory(join(this.#place.root, this.name))
  }

  #running(): Omit<MachineState, 'machine'> {
    if (this.#wish === 'ended') return { state: 'ended', pid: null }
    if (this.#supervisor === undefined) return { state: 'idle', pid: null }
    const pid = this.#supervisor.pid(this.name) ?? null
    return { state: pid === null ? 'waiting' : 'running', pid }
  }

  #supervise(mayRestart: boolean): void {
    const { program } = this.#place
    const config = ['host', '--config', this.#path('host.json')]
    const spec = {
      ...{ name: this.name, command: program.command },
      ...{ logFile: this.#path('host.log'), noteFile: this.#path('host.pid') },
      parameters: (isFirst: boolean) => [
        ...[...program.parameters, ...config],
        ...(isFirst && mayRestart ? ['--restart'] : []),
      ],
    }
    this.#supervisor = new Supervisor([spec], {
      onStarted: (_, pid) => this.#say(`process ${pid} runs`),
      onAdopted: (_, pid) => this.#say(`process ${pid} is left from an earlier daemon, and watched over`),
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

  #setWish(state: Wish): Promise<void> {
    this.#wish = state
    const content = { kind: 'understudy-hosted-machine', version: 1, state }
    const write = (): Promise<void> => writeStoredJson(this.#path('state.json'), content)
    this.#stored = this.#stored.then(write, write)
    return this.#stored
  }

  #path(name: string): string {
    return join(this.#place.root, this.name, name)
  }

  #say(text: string): void {
    this.#place.onNotice(`machine ${this.name}: ${text}`)
  }
}

/** What is left by a crash in between has no state any more, so that it is no machine. */
async function removeDirectory(path: string): Promise<void> {
  try {
    await rm(join(path, 'state.json'), { force: true })
    await rm(path, { recursive: true, force: true })
  } catch (error) {
    throw fileError(error, 'remove', path)
  }
}

function configOf(
  { host, listenHost }: HostPlace,
  request: CreateRequest,
  directory: string,
): HostConfig & { readonly credentials: { readonly secretFile: string } } {
  const { machine, port, heartbeatPort, metricsPort, peers, arbiter } = request
  const { network, mayCreate, settings, allowFaults, isRecorded, translates } = request
  return {
    ...{ kind: 'understudy-host', version: 1, machine, host },
    ...{ directory: join(directory, 'copy'), machineFile: join(directory, 'machine.json') },
    ...{ listen: { host: listenHost, port }, heartbeatPort, metricsPort, peers, arbiter },
    ...{ credentials: { secretFile: join(directory, 'secret') }, network, mayCreate, settings },
    ...(allowFaults ? { allowFaults } : {}),
    ...(translates ? {} : { translates }),
    ...(isRecorded ? { recordingDirectory: join(directory, 'recordings') } : {}),
  }
}
