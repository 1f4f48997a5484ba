/**
 * `understudy host --listen`: what a computer runs to be a host of machines. It takes requests over a control connection
 * from whoever knows its secret (daemon_protocol.ts), keeps the machines that it was given (hosted_machine.ts), and has
 * a process run for each that is wanted.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { z } from 'zod'
import type { JsonObject, JsonValue } from '../../base/canonical_json.ts'
import { UserError } from '../../base/errors.ts'
import { type ControlMethod, ControlServer, controlMethod } from '../../host/control_server.ts'
import { fileError } from '../../host/file_error.ts'
import { InUseError, LockFile } from '../../host/lock_file.ts'
import { type OpenedArbiter, openArbiter } from '../../host/open_arbiter.ts'
import { openCredentials } from '../../host/secure_credentials.ts'
import { listenSecure, type SecureListener } from '../../host/secure_listener.ts'
import type { ArbiterAnswer } from '../../replication/arbiter.ts'
import { checkSettings } from '../../replication/settings.ts'
import type { ImageDescription } from '../image_description.ts'
import {
  type CreateRequest,
  createSchema,
  DAEMON_NAME,
  DAEMON_TERMS,
  describeSchema,
  findNonceSchema,
  type HostDescription,
  nameSchema,
  proveSchema,
  startSchema,
} from './daemon_protocol.ts'
import { type Address, settingsOf } from './host_config.ts'
import { HostedMachine, type HostPlace } from './hosted_machine.ts'
import { freePorts, nextFreePort } from './loopback_ports.ts'
import type { ProgramStart } from './pair_run.ts'
import { softwareBuild } from './software_build.ts'
import { checkAgainst } from './stored_json.ts'

export interface DaemonOptions {
  /** The host's name, which its machines know it by. */
  readonly name: string
  /** Port 0 takes any that is free. */
  readonly listen: { readonly host: string; readonly port: number }
  /** Made if it is not there. */
  readonly secretFile: string
  /** Where it keeps its machines. */
  readonly directory: string
  readonly program: ProgramStart
  /** Rejects with a UserError if there is no such image here. */
  readonly describeImage: (name: string) => Promise<ImageDescription>
  readonly onNotice: (text: string) => void
}

export class HostDaemon {
  readonly #options: DaemonOptions
  readonly #place: HostPlace
  readonly #lock: LockFile
  readonly #machines = new Map<string, HostedMachine>()
  #listener: SecureListener | undefined
  #control: ControlServer | undefined
  /**
   * Requests that change a machine are carried out one after another, by the machine's name: one whose process does not
   * end, as while its disk hangs, holds up no other.
   */
  readonly #changes = new Map<string, Promise<unknown>>()

  private constructor(options: DaemonOptions, lock: LockFile) {
    const { name, directory, listen, program, onNotice } = options
    this.#options = options
    this.#lock = lock
    this.#place = {
      ...{ root: join(directory, 'machines'), host: name, listenHost: listen.host, program, onNotice },
    }
  }

  /** Starts what is wanted of the machines that are there. Throws a UserError if it cannot start. */
  static async start(options: DaemonOptions): Promise<HostDaemon> {
    const { directory, name } = options
    try {
      mkdirSync(join(directory, 'machines'), { recursive: true, mode: 0o700 })
    } catch (error) {
      throw fileError(error, 'make', directory)
    }
    const daemon = new HostDaemon(options, await lockDirectory(directory, name))
    try {
      await daemon.#open()
    } catch (error) {
      await daemon.#lock.release()
      throw error
    }
    return daemon
  }

  /** Where it listens. */
  get address(): Address {
    return { host: this.#options.listen.host, port: this.#listener!.port }
  }

  /** Ends all processes of its machines; the next daemon starts them again. */
  async close(): Promise<void> {
    this.#control?.close()
    await this.#listener?.close()
    await Promise.all(this.#changes.values())
    await Promise.all([...this.#machines.values()].map((machine) => machine.close()))
    await this.#lock.release()
  }

  async #open(): Promise<void> {
    const { name, listen, secretFile, onNotice } = this.#options
    const credentials = await openCredentials({ secretFile })
    this.#load()
    this.#control = new ControlServer(this.#methods(), onNotice)
    this.#listener = await listenSecure({
      ...{ credentials, name: DAEMON_NAME, ...listen, onNotice },
      services: {
        control: {
          terms: () => DAEMON_TERMS,
          info: () => ({ name }),
          accept: (stream, peer) => this.#control!.accept(stream, peer.name),
        },
      },
    })
    for (const machine of this.#machines.values()) machine.resume()
  }

  #load(): void {
    const { root, onNotice } = this.#place
    for (const name of readdirSync(root)) {
      // One whose making was cut short is no machine.
      if (!existsSync(join(root, name, 'state.json'))) continue
      try {
        this.#machines.set(name, HostedMachine.open(this.#place, name))
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        onNotice(`machine ${name} cannot be started: ${error.message}`)
      }
    }
  }

  // Requests

  #methods(): Record<string, ControlMethod> {
    return {
      describe: method(describeSchema, async (request) => ({ ...(await this.#describe(request)) })),
      prove: method(proveSchema, async ({ machine, arbiter }) =>
        withArbiter(arbiter, machine, (opened) => prove(opened, this.#options.name)),
      ),
      findNonce: method(findNonceSchema, ({ machine, arbiter, host, nonce }) =>
        withArbiter(arbiter, machine, async ({ storage }) => ({
          isFound: await storage.hasNonce(host, nonce),
        })),
      ),
      create: method(createSchema, (request) =>
        this.#change(request.machine, () => this.#create(request as CreateRequest)),
      ),
      remove: method(nameSchema, ({ machine }) => this.#change(machine, () => this.#remove(machine))),
      start: method(startSchema, ({ machine, mayRestart }) =>
        this.#change(machine, () => this.#machine(machine).start(mayRestart)),
      ),
      end: method(nameSchema, ({ machine }) => this.#change(machine, () => this.#machine(machine).end())),
      state: method(nameSchema, async ({ machine }) => ({ ...this.#machine(machine).state })),
    }
  }

  async #change(machine: string, work: () => Promise<void>): Promise<JsonObject> {
    const change = (this.#changes.get(machine) ?? Promise.resolve()).then(work)
    const settled = change.catch(() => undefined)
    this.#changes.set(machine, settled)
    try {
      await change
    } finally {
      if (this.#changes.get(machine) === settled) this.#changes.delete(machine)
    }
    return {}
  }

  async #describe(request: z.infer<typeof describeSchema>): Promise<HostDescription> {
    const { name, listen, describeImage } = this.#options
    const image = await describeImage(request.image).catch((error: unknown) => {
      if (error instanceof UserError) return { problem: error.message }
      throw error
    })
    const known = [...this.#machines.values()].flatMap((machine) => machine.ports)
    const avoided = new Set([...request.avoidPorts, ...known])
    const port = await nextFreePort(this.address.port + 1, listen.host, avoided)
    const heartbeatPort = await nextFreePort(port + 1, listen.host, avoided)
    const [metricsPort] = await freePorts(1)
    return {
      ...{ name, build: softwareBuild(), listenHost: listen.host, port, heartbeatPort },
      ...{ metricsPort: metricsPort!, isTaken: this.#isTaken(request.machine), image },
    }
  }

  #isTaken(name: string): boolean {
    const machine = this.#machines.get(name)
    if (machine?.isNew || machine?.isSupervised) return !machine.isNew
    // What cannot be read may be a machine as well; one whose directory was removed is none any more.
    return existsSync(join(this.#place.root, name, 'state.json'))
  }

  async #create(request: CreateRequest): Promise<void> {
    const { machine } = request
    this.#requireFree(machine)
    checkSettings(settingsOf(request.settings))
    const made = await HostedMachine.create(this.#place, request)
    // Others may have been made since this one's ports were found to be free.
    const taken = [...this.#machines.values()].flatMap(({ name, ports }) => (name === machine ? [] : ports))
    const port = made.ports.find((one) => taken.includes(one))
    if (port === undefined) this.#machines.set(machine, made)
    else {
      this.#machines.delete(machine)
      await made.remove()
      throw new UserError(`port ${port} has been given to another machine meanwhile: try again`)
    }
    this.#options.onNotice(`machine ${machine}: is made`)
  }

  async #remove(name: string): Promise<void> {
    this.#requireFree(name)
    await this.#machines.get(name)?.remove()
    this.#machines.delete(name)
    this.#options.onNotice(`machine ${name}: is removed; it was never started`)
  }

  #requireFree(name: string): void {
    if (this.#isTaken(name)) throw new UserError(`there is a machine ${name} already`)
  }

  #machine(name: string): HostedMachine {
    const machine = this.#machines.get(name)
    if (machine === undefined) throw new UserError(`there is no machine ${name}`)
    return machine
  }
}

function method<S extends z.ZodType>(
  schema: S,
  run: (parameters: z.infer<S>) => Promise<JsonValue>,
): ControlMethod {
  return controlMethod((parameters: JsonObject) => checkAgainst(schema, parameters, 'parameters'), run)
}

async function withArbiter(
  text: string,
  machine: string,
  use: (opened: OpenedArbiter) => Promise<JsonValue>,
): Promise<JsonValue> {
  const opened = await openArbiter(text, machine)
  try {
    return await use(opened)
  } finally {
    opened.arbiter.close()
  }
}

/** That the arbiter can be reached from here; and a mark, for the other host to find. */
async function prove({ arbiter, storage }: OpenedArbiter, host: string): Promise<JsonValue> {
  const answer = await new Promise<ArbiterAnswer>((resolve) => arbiter.read(resolve))
  if (answer.kind !== 'current') throw new UserError(answer.reason)
  return { nonce: await storage.writeNonce(host), hasDecisions: answer.decision !== undefined }
}

async function lockDirectory(directory: string, name: string): Promise<LockFile> {
  try {
    return await LockFile.acquire(join(directory, 'lock'), `host ${name}`)
  } catch (error) {
    if (error instanceof InUseError) throw new UserError(`host ${name} runs already: ${error.message}`)
    throw error
  }
}
