/** A control connection to a host's daemon (host_daemon.ts), as whoever runs machines there has it. */
import { existsSync } from 'node:fs'
import type { TLSSocket } from 'node:tls'
import type { z } from 'zod'
import type { JsonObject } from '../../base/canonical_json.ts'
import { UserError } from '../../base/errors.ts'
import { ControlClient } from '../../host/control_client.ts'
import { type Credentials, openCredentials } from '../../host/secure_credentials.ts'
import { dialSecure } from '../../host/secure_dial.ts'
import { daemonAddressText } from './daemon_address.ts'
import {
  type CreateRequest,
  DAEMON_NAME,
  DAEMON_TERMS,
  type describeSchema,
  descriptionSchema,
  type findNonceSchema,
  type HostDescription,
  isHostName,
  type MachineState,
  machineStateSchema,
  nonceFoundSchema,
  proofSchema,
  type startSchema,
} from './daemon_protocol.ts'
import type { Address } from './host_config.ts'
import { OPERATOR_NAME } from './pair.ts'
import { checkAgainst } from './stored_json.ts'

const DIAL_MS = 5000
/** An image of gigabytes may have to be read whole, once. */
const DESCRIBE_MS = 600_000
const STATE_MS = 5000
/** A process may take its time to end. */
const CHANGE_MS = 30_000

export class DaemonClient {
  /** What the host is called. */
  readonly name: string
  /** How this computer is reached from there. */
  readonly localAddress: string
  readonly #client: ControlClient

  private constructor(name: string, stream: TLSSocket) {
    this.name = name
    this.localAddress = (stream.localAddress ?? '').replace(/^::ffff:/, '')
    this.#client = new ControlClient(stream)
  }

  /** Rejects with a UserError that names the host; `name` is what it must be called, if that is known. */
  static connect(address: Address, credentials: Credentials, name?: string): Promise<DaemonClient> {
    const place = `host ${name ?? daemonAddressText(address)}`
    return new Promise((resolve, reject) => {
      const refuse = (reason: string): void => reject(new UserError(`${place}: ${reason}`))
      dialSecure(
        {
          ...{ credentials, name: OPERATOR_NAME, peerName: DAEMON_NAME, ...address },
          ...{ service: 'control', terms: DAEMON_TERMS, timeoutMs: DIAL_MS },
        },
        {
          opened: (stream, info) => {
            const said = info['name'] ?? ''
            const isRight = isHostName(said) && (name === undefined || name === said)
            if (isRight) return resolve(new DaemonClient(said, stream))
            stream.destroy()
            refuse(`host ${said.slice(0, 63)} answers at ${daemonAddressText(address)}`)
          },
          failed: ({ reason }) => refuse(`cannot be asked: ${reason.replace(/^host-daemon at /, 'at ')}`),
        },
      )
    })
  }

  async describe(request: z.infer<typeof describeSchema>): Promise<HostDescription> {
    const description = await this.#ask(descriptionSchema, 'describe', request, DESCRIBE_MS)
    if (description.name === this.name) return description
    throw new UserError(`host ${this.name}: it describes ${description.name}`)
  }

  prove(machine: string, arbiter: string): Promise<z.infer<typeof proofSchema>> {
    return this.#ask(proofSchema, 'prove', { machine, arbiter })
  }

  async findNonce(request: z.infer<typeof findNonceSchema>): Promise<boolean> {
    return (await this.#ask(nonceFoundSchema, 'findNonce', request)).isFound
  }

  async create(request: CreateRequest): Promise<void> {
    await this.#request('create', request as unknown as JsonObject)
  }

  async remove(machine: string): Promise<void> {
    await this.#request('remove', { machine })
  }

  async start(request: z.infer<typeof startSchema>): Promise<void> {
    await this.#request('start', request)
  }

  async end(machine: string): Promise<void> {
    await this.#request('end', { machine })
  }

  state(machine: string): Promise<MachineState> {
    return this.#ask(machineStateSchema, 'state', { machine }, STATE_MS)
  }

  close(): void {
    this.#client.close()
  }

  async #ask<S extends z.ZodType>(
    schema: S,
    method: string,
    parameters: JsonObject,
    timeoutMs = CHANGE_MS,
  ): Promise<z.infer<S>> {
    const answer = await this.#request(method, parameters, timeoutMs)
    return checkAgainst(schema, answer, `host ${this.name}: answer to ${method}`)
  }

  async #request(method: string, parameters: JsonObject, timeoutMs = CHANGE_MS): Promise<unknown> {
    try {
      return await this.#client.request(method, parameters, { timeoutMs })
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      throw new UserError(`host ${this.name}: ${error.message}`, { cause: error.cause })
    }
  }
}

/** What daemons are asked with. A secret that is made only now would be nobody else's: throws a UserError instead. */
export async function daemonCredentials(secretFile: string): Promise<Credentials> {
  if (existsSync(secretFile)) return openCredentials({ secretFile })
  throw new UserError(
    `no secret at ${secretFile}: copy there what the hosts share (understudy host --listen says where it is)`,
  )
}
