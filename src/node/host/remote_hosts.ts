/**
 * The hosts of a machine that are other computers, as whoever runs the machine sees them: has the daemon of each start
 * its part, again and again until it has heard, and then looks whether the machine was stopped.
 *
 *     asked to start --the daemon answers--> started --its process has ended in order--> over
 */
import { UserError } from '../../base/errors.ts'
import type { Credentials } from '../../host/secure_credentials.ts'
import { DaemonClient, daemonCredentials } from './daemon_client.ts'
import type { Address } from './host_config.ts'
import type { Pair } from './pair.ts'

const LOOK_MS = 500

interface RemoteHost {
  readonly name: string
  readonly address: Address
  client: DaemonClient | undefined
  /** The last look, which may be under way. */
  look: Promise<void>
  hasStarted: boolean
  hasEnded: boolean
  /** Why it could not be asked the last time. */
  problem: string
}

export class RemoteHosts {
  readonly #machine: string
  readonly #credentials: Credentials
  readonly #hosts: readonly RemoteHost[]
  readonly #onNotice: (text: string) => void
  readonly #timers = new Set<NodeJS.Timeout>()
  #isClosed = false

  private constructor(
    machine: string,
    credentials: Credentials,
    addresses: Readonly<Record<string, Address>>,
    onNotice: (text: string) => void,
  ) {
    this.#machine = machine
    this.#credentials = credentials
    this.#onNotice = onNotice
    this.#hosts = Object.entries(addresses).map(([name, address]) => ({
      ...{ name, address, client: undefined, look: Promise.resolve() },
      ...{ hasStarted: false, hasEnded: false, problem: '' },
    }))
  }

  /** Undefined if all hosts of the pair are on this computer. Throws a UserError if their secret is not here. */
  static async open(pair: Pair, onNotice: (text: string) => void): Promise<RemoteHosts | undefined> {
    const { daemons } = pair.file
    if (daemons === undefined) return undefined
    const { secretFile, addresses } = daemons
    return new RemoteHosts(pair.name, await daemonCredentials(secretFile), addresses, onNotice)
  }

  /** Begins to have them start. */
  start(): void {
    for (const host of this.#hosts) host.look = this.#look(host)
  }

  /**
   * Whether the machine was stopped in order. A process that ends so has seen the decision, which counts for both; the
   * other host may be away.
   */
  get isOver(): boolean {
    return this.#hosts.some(({ hasEnded }) => hasEnded)
  }

  /** Looks no more, and leaves everything as it is. */
  leave(): void {
    this.#isClosed = true
    for (const timer of this.#timers) clearTimeout(timer)
    for (const { client } of this.#hosts) client?.close()
  }

  /** Ends the processes of all hosts that can be asked. */
  async end(): Promise<void> {
    this.#isClosed = true
    for (const timer of this.#timers) clearTimeout(timer)
    await Promise.all(this.#hosts.map((host) => this.#end(host)))
  }

  async #look(host: RemoteHost): Promise<void> {
    try {
      const client = await this.#connect(host)
      // What is over by now would begin anew.
      if (this.#isClosed || this.isOver) return
      if (!host.hasStarted) await client.start({ machine: this.#machine, mayRestart: true })
      host.hasStarted = true
      host.problem = ''
      const { state } = await client.state(this.#machine)
      host.hasEnded = state === 'ended'
    } catch (error) {
      this.#onFailed(host, error)
    }
    if (this.#isClosed) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      host.look = this.#look(host)
    }, LOOK_MS)
    this.#timers.add(timer)
  }

  async #connect(host: RemoteHost): Promise<DaemonClient> {
    host.client ??= await DaemonClient.connect(host.address, this.#credentials, host.name)
    return host.client
  }

  #onFailed(host: RemoteHost, error: unknown): void {
    if (!(error instanceof UserError)) throw error
    host.client?.close()
    host.client = undefined
    if (error.message !== host.problem && !this.#isClosed) this.#onNotice(error.message)
    host.problem = error.message
  }

  async #end(host: RemoteHost): Promise<void> {
    // It must not start what is ended.
    await host.look
    // The daemon may be another one than at the last look, to which that connection does not lead.
    host.client?.close()
    host.client = undefined
    try {
      const client = await this.#connect(host)
      await client.end(this.#machine).finally(() => client.close())
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      // Its process ends by itself, once it hears that the machine is stopped.
      this.#onNotice(error.message)
    }
  }
}
