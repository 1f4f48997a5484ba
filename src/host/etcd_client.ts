/**
 * As much of etcd's JSON gateway (v3, etcd 3.4 and newer) as an arbiter needs: calls to one of several endpoints, with
 * authentication by password or by certificate. Keys, values and 64-bit numbers are strings, as the gateway has them.
 *
 * A call goes to the endpoint that answered last, and from there to each other one once. One that was sent and not
 * answered may have taken effect; so whatever is called here must be harmless when it happens twice.
 */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { JsonObject } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'
import { type JsonResponse, postJson } from './json_request.ts'

/** PEM texts. Without `ca`, the system's. */
export interface EtcdTls {
  readonly ca: string | undefined
  readonly certificate: string | undefined
  readonly key: string | undefined
}

export interface EtcdLogin {
  readonly user: string
  readonly password: string
}

export interface EtcdClientOptions {
  readonly endpoints: readonly URL[]
  readonly tls: EtcdTls | undefined
  readonly login: EtcdLogin | undefined
  /** For each endpoint. */
  readonly timeoutMs: number
}

/** A request to one endpoint. */
type Send = (path: string, body: JsonObject, token: string) => Promise<JsonResponse>

/** gRPC's code for a token that is missing, unknown or too old. */
const UNAUTHENTICATED = 16
const OLD_TOKEN = /invalid auth token|revision of auth store is old/
const IDLE_CONNECTIONS_MAX = 2

export class EtcdClient {
  readonly #options: EtcdClientOptions
  readonly #agents: Readonly<Record<string, HttpAgent>>
  readonly #closing = new AbortController()
  /** Which endpoint answered last. */
  #first = 0
  #token: Promise<string> | undefined

  constructor(options: EtcdClientOptions) {
    const { ca, certificate: cert, key } = options.tls ?? {}
    const kept = { keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX }
    this.#options = options
    this.#agents = { 'http:': new HttpAgent(kept), 'https:': new HttpsAgent({ ...kept, ca, cert, key }) }
  }

  /** Calls `path`, such as /v3/kv/range. Rejects with a UserError that says what each endpoint had to say. */
  async call(path: string, body: JsonObject): Promise<JsonObject> {
    const { endpoints } = this.#options
    const first = this.#first
    const problems = new Map<string, string>()
    for (let i = 0; i < endpoints.length; i++) {
      const index = (first + i) % endpoints.length
      const endpoint = endpoints[index]!
      try {
        const answer = await this.#callAt(endpoint, path, body)
        this.#first = index
        return answer
      } catch (error) {
        if (this.#closing.signal.aborted) throw new UserError('closed')
        problems.set(endpoint.host, problemOf(error))
      }
    }
    throw new UserError([...problems].map(([host, problem]) => `${host}: ${problem}`).join('; '))
  }

  /** Gives up what is under way: the calls reject. */
  close(): void {
    this.#closing.abort()
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }

  async #callAt(endpoint: URL, path: string, body: JsonObject): Promise<JsonObject> {
    const { timeoutMs } = this.#options
    const timeout = AbortSignal.timeout(timeoutMs)
    const signal = AbortSignal.any([this.#closing.signal, timeout])
    const send: Send = (to, what, token) =>
      postJson({
        url: new URL(to, endpoint),
        headers: token === '' ? {} : { authorization: token },
        body: what,
        agent: this.#agents[endpoint.protocol]!,
        signal,
      })
    try {
      return accepted(await this.#authorized(send, path, body))
    } catch (error) {
      throw timeout.aborted ? new UserError(`no answer within ${timeoutMs} ms`) : error
    }
  }

  /** Sends with a token, and once more with a new one if that is refused: members forget them when they start. */
  async #authorized(send: Send, path: string, body: JsonObject): Promise<JsonResponse> {
    const response = await send(path, body, await this.#authenticate(send))
    if (!this.#isTokenRefused(response)) return response
    this.#token = undefined
    return send(path, body, await this.#authenticate(send))
  }

  /** The token for calls, empty if none is needed. Calls that wait for one at the same time wait for the same. */
  async #authenticate(send: Send): Promise<string> {
    const { login } = this.#options
    if (login === undefined) return ''
    const { user: name, password } = login
    this.#token ??= send('/v3/auth/authenticate', { name, password }, '').then((response) => {
      const { token } = accepted(response)
      if (typeof token !== 'string') throw new UserError('an answer without a token')
      return token
    })
    const asked = this.#token
    try {
      return await asked
    } catch (error) {
      if (this.#token === asked) this.#token = undefined
      throw error
    }
  }

  #isTokenRefused({ status, body }: JsonResponse): boolean {
    if (this.#options.login === undefined || status === 200) return false
    return body['code'] === UNAUTHENTICATED || OLD_TOKEN.test(String(body['message'] ?? body['error']))
  }
}

function accepted({ status, body }: JsonResponse): JsonObject {
  if (status === 200) return body
  if (status === 404) throw new UserError('no v3 gateway is there: is it etcd 3.4 or newer?')
  throw new UserError(`status ${status}: ${String(body['message'] ?? body['error'] ?? 'without a reason')}`)
}

function problemOf(error: unknown): string {
  // A name with several addresses fails once for each.
  if (error instanceof AggregateError) return error.errors.map((one) => (one as Error).message).join(', ')
  return error instanceof Error ? error.message : String(error)
}
