/** Talks to the processes of a pair, as an operator. */
import type { JsonObject, JsonValue } from '../../base/canonical_json.ts'
import { UserError } from '../../base/errors.ts'
import { ControlClient, type ControlClientEvents } from '../../host/control_client.ts'
import { type Credentials, openCredentials } from '../../host/secure_credentials.ts'
import { dialSecure } from '../../host/secure_dial.ts'
import type { HostStatus } from './control_methods.ts'
import { GATEWAY_NAME, OPERATOR_NAME, type Pair } from './pair.ts'
import { unansweredState } from './pair_processes.ts'

const DIAL_MS = 2000

/** What people and programs are shown of a pair. */
export interface PairStatus {
  readonly name: string
  readonly protection: 'protected' | 'not protected' | 'stopped'
  readonly reason: string | null
  /** More about the reason, for people: why the last copy was lost, or why there can be none. */
  readonly detail: string | null
  readonly epoch: number | null
  readonly primary: { readonly host: string; readonly pid: number } | null
  readonly backup: { readonly host: string; readonly pid: number } | null
  /** Steps of the machine, in decimal. */
  readonly position: string | null
  readonly lagMs: number | null
  readonly logBytesPerSecond: number | null
  readonly outputDelayMs: { readonly p50: number; readonly p99: number } | null
  readonly forwards: readonly string[]
  /** Where each host's metrics are, by the host's name. */
  readonly metrics: Readonly<Record<string, string>>
  /** Every process that answers. */
  readonly hosts: readonly HostStatus[]
}

export class PairControl {
  readonly #pair: Pair
  readonly #credentials: Credentials

  private constructor(pair: Pair, credentials: Credentials) {
    this.#pair = pair
    this.#credentials = credentials
  }

  static async open(pair: Pair): Promise<PairControl> {
    return new PairControl(pair, await openCredentials({ secretFile: pair.secretFile }))
  }

  /** A control connection to a host's process, or to the gateway; undefined if none listens. */
  connect(host: string, events: ControlClientEvents = {}): Promise<ControlClient | undefined> {
    const { hosts, gateway } = this.#pair.file
    const address = host === GATEWAY_NAME ? gateway?.listen : hosts[host]
    if (address === undefined) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      dialSecure(
        {
          ...{ credentials: this.#credentials, name: OPERATOR_NAME, peerName: host, ...address },
          ...{ service: 'control', terms: { machine: this.#pair.name }, timeoutMs: DIAL_MS },
        },
        {
          opened: (stream) => resolve(new ControlClient(stream, events)),
          failed: () => resolve(undefined),
        },
      )
    })
  }

  /** Asks one host; undefined if its process does not answer. */
  async ask(host: string, method: string, parameters: JsonObject = {}): Promise<JsonValue | undefined> {
    const client = await this.connect(host)
    try {
      return await client?.request(method, parameters, { timeoutMs: DIAL_MS })
    } catch {
      return undefined
    } finally {
      client?.close()
    }
  }

  /** The process of a host or of the gateway that answers; undefined if none does. */
  async pid(name: string): Promise<number | undefined> {
    const answer = await this.ask(name, 'status')
    const { pid } = (typeof answer === 'object' ? answer : {}) as { readonly pid?: number }
    return Number.isSafeInteger(pid) && pid! > 1 ? pid : undefined
  }

  async status(): Promise<PairStatus> {
    const answers = await Promise.all(this.#pair.hostNames.map((host) => this.ask(host, 'status')))
    const hosts = answers.filter((answer) => answer !== undefined) as unknown as HostStatus[]
    // A process that has ended answers for a moment more.
    const living = hosts.filter(({ protection }) => protection !== 'halted')
    if (living.length === 0 && hosts.length > 0) return combine(this.#pair, [], 'ending')
    return combine(this.#pair, living, living.length > 0 ? 'stopped' : await unansweredState(this.#pair))
  }

  /** A connection to the primary's process. Throws a UserError if there is none. */
  async connectToPrimary(events: ControlClientEvents = {}): Promise<ControlClient> {
    const { primary } = await this.status()
    const client = primary === null ? undefined : await this.connect(primary.host, events)
    if (client !== undefined) return client
    throw new UserError(
      `machine ${this.#pair.name} has no primary at the moment: see understudy status ${this.#pair.name}`,
    )
  }
}

/** What the hosts that answer say together; `unanswered` is what it is if none does. */
export function combine(
  pair: Pair,
  hosts: readonly HostStatus[],
  unanswered: 'stopped' | 'starting' | 'no answer' | 'ending' = 'stopped',
): PairStatus {
  const byEpoch = [...hosts].sort((one, other) => (other.epoch ?? 0) - (one.epoch ?? 0))
  const primary = byEpoch.find(({ role }) => role === 'primary')
  const backup = hosts.find(({ role }) => role === 'backup')
  const shown = primary ?? backup ?? hosts[0]
  const isStopped =
    hosts.length === 0 ? unanswered === 'stopped' : hosts.every(({ protection }) => protection === 'stopped')
  const place = (host: HostStatus | undefined) => (host ? { host: host.host, pid: host.pid } : null)
  return {
    name: pair.name,
    protection: primary?.protection === 'protected' ? 'protected' : isStopped ? 'stopped' : 'not protected',
    reason: isStopped
      ? null
      : primary === undefined
        ? reasonOfNone(hosts, shown, unanswered)
        : primary.reason,
    detail: detailOf(primary, hosts),
    epoch: primary?.epoch ?? null,
    ...{ primary: place(primary), backup: place(backup) },
    position: shown?.position ?? null,
    lagMs: primary?.lagMs ?? null,
    logBytesPerSecond: primary?.logBytesPerSecond ?? null,
    outputDelayMs: primary?.outputDelayMs ?? null,
    forwards: pair.file.gateway?.forwards ?? [],
    metrics: pair.metricsUrls,
    hosts,
  }
}

/** Why there is no second copy: whoever could be one is refused, or the last one was lost. */
function detailOf(primary: HostStatus | undefined, hosts: readonly HostStatus[]): string | null {
  if (primary === undefined || primary.protection === 'protected') return null
  const own = Object.entries(primary.refusals)
  const others = hosts.filter(({ role }) => role !== 'primary' && role !== 'backup')
  const theirs = others.flatMap(({ host, refusals }) =>
    Object.hasOwn(refusals, primary.host) ? [[host, refusals[primary.host]!] as const] : [],
  )
  const [refused] = [...own, ...theirs]
  if (refused !== undefined) return `no channel with ${refused[0]}: ${refused[1]}`
  return primary.detail
}

/** A reason with what there is to say about it. */
export function reasonText({ reason, detail }: PairStatus): string | null {
  return reason === null || detail === null ? reason : `${reason}: ${detail}`
}

/** Reasons for which a machine waits for somebody, and stays without a primary until then. */
const WAITING: readonly (string | null)[] = ['waiting for the backup host', 'arbiter unreachable']

/** Why nobody acts, as far as the copies tell. */
function reasonOfNone(
  hosts: readonly HostStatus[],
  shown: HostStatus | undefined,
  unanswered: string,
): string {
  if (hosts.length === 0) return unanswered
  const waiting = hosts.find(({ reason }) => WAITING.includes(reason))
  if (waiting?.reason) return waiting.reason
  return shown?.reason ? `no primary: ${shown.reason}` : 'no primary'
}
