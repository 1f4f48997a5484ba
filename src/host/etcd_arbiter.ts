/**
 * The arbiter that is an etcd cluster: one key for each machine, whose value is the latest decision.
 *
 * A proposal is a transaction that compares the whole value and only then puts the next one. A value names its epoch, so
 * none ever comes back, and a transaction that arrives late, or twice, finds another value and does nothing. Reads
 * are linearizable (etcd's default).
 *
 * Every answer carries the cluster's number and its revision, which grows with each change to anything; the key has the
 * revision of its creation and counts its changes. If any of these contradicts what this process has seen, the
 * cluster was restored from an older copy, or is another one.
 *
 * The number does not tell clusters apart for certain: it is made of the names and addresses that their members have for
 * each other, and two that were started on two hosts without any option have the same. So two hosts leave nonces below
 * the machine's key, for the other to find.
 */
import { randomBytes } from 'node:crypto'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { FormatError, UserError } from '../base/errors.ts'
import type { Arbiter, ArbiterAnswer, Decision, OnAnswer } from '../replication/arbiter.ts'
import { ArbiterMemory, type ArbiterPast, type Known } from './arbiter_memory.ts'
import { assertProposal, decodeRecord, encodeRecord } from './decision_record.ts'
import { EtcdClient, type EtcdClientOptions } from './etcd_client.ts'
import type { SharedStorage } from './file_arbiter.ts'
import { UntrustedError } from './shared_files.ts'

/** The machine's key as etcd describes it. */
interface Stored {
  readonly decision: Decision
  readonly createRevision: bigint
  /** When it was put. */
  readonly revision: bigint
  /** How often the key was put since it was created, less the decision's epoch: always the same. */
  readonly putsBefore: bigint
}

/** A nonce is gone after a day, long after the handshake that it was for. */
const NONCE_SECONDS = 86_400
const NONCE = /^[0-9a-f]{32}$/

export class EtcdArbiter implements Arbiter, SharedStorage {
  readonly #client: EtcdClient
  readonly #machine: string
  readonly #key: string
  readonly #noncePrefix: string
  readonly #memory: ArbiterMemory
  #revision = 0n
  #stored: Stored | undefined
  #isClosed = false

  /** `prefix` comes before the checked name of the machine. */
  constructor(options: EtcdClientOptions, prefix: string, machine: string, past?: ArbiterPast) {
    this.#client = new EtcdClient(options)
    this.#machine = machine
    this.#key = base64(prefix + machine)
    // No machine's name has a slash.
    this.#noncePrefix = `${prefix}${machine}/nonces/`
    this.#memory = new ArbiterMemory(`etcd at ${options.endpoints.map(({ host }) => host).join(', ')}`, past)
  }

  read(onAnswer: OnAnswer): void {
    this.#ask(onAnswer, async () => {
      const reply = await this.#client.call('/v3/kv/range', { key: this.#key })
      return { header: reply['header'], stored: this.#storedIn(reply) }
    })
  }

  propose(expected: Decision | undefined, proposed: Decision, onAnswer: OnAnswer): void {
    assertProposal(expected, proposed)
    this.#ask(onAnswer, async () => {
      const reply = await this.#client.call('/v3/kv/txn', this.#transaction(expected, proposed))
      // Whatever the outcome, the last of the responses is what the key holds then.
      const last = objects(reply['responses']).at(-1)?.['response_range']
      if (!isObject(last)) throw new UserError('an answer without the content of the key')
      return { header: reply['header'], stored: this.#storedIn(last) }
    })
  }

  async writeNonce(host: string): Promise<string> {
    const nonce = randomBytes(16).toString('hex')
    const { ID: lease } = await this.#client.call('/v3/lease/grant', { TTL: `${NONCE_SECONDS}` })
    if (typeof lease !== 'string') throw new UserError('an answer without a lease: is it etcd?')
    await this.#client.call('/v3/kv/put', { ...this.#nonceKey(nonce), value: base64(host), lease })
    return nonce
  }

  async hasNonce(host: string, nonce: string): Promise<boolean> {
    if (!NONCE.test(nonce)) return false
    const reply = await this.#client.call('/v3/kv/range', this.#nonceKey(nonce))
    return objects(reply['kvs'])[0]?.['value'] === base64(host)
  }

  #nonceKey(nonce: string): { readonly key: string } {
    return { key: base64(this.#noncePrefix + nonce) }
  }

  close(): void {
    this.#isClosed = true
    this.#client.close()
  }

  #transaction(expected: Decision | undefined, proposed: Decision): JsonObject {
    const key = this.#key
    const range = { request_range: { key } }
    return {
      compare: [
        expected === undefined
          ? { key, target: 'CREATE', result: 'EQUAL', create_revision: '0' }
          : { key, target: 'VALUE', result: 'EQUAL', value: base64(encodeRecord(this.#machine, expected)) },
      ],
      success: [{ request_put: { key, value: base64(encodeRecord(this.#machine, proposed)) } }, range],
      failure: [range],
    }
  }

  /** Runs `request` and makes an answer of its outcome. Errors that are no UserErrors are our own, and not caught. */
  #ask(
    onAnswer: OnAnswer,
    request: () => Promise<{ header: JsonValue | undefined; stored: Stored | undefined }>,
  ): void {
    const before = { known: this.#memory.known, revision: this.#revision }
    request()
      .then(({ header, stored }) => this.#learn(before, header, stored))
      .catch((error: unknown): ArbiterAnswer => {
        if (!(error instanceof UserError)) throw error
        return { kind: error instanceof UntrustedError ? 'untrusted' : 'unreachable', reason: error.message }
      })
      .then((answer) => {
        if (!this.#isClosed) onAnswer(this.#distrusted() ?? answer)
      })
      .catch(stopProcess)
  }

  #learn(
    before: { readonly known: Known; readonly revision: bigint },
    header: JsonValue | undefined,
    stored: Stored | undefined,
  ): ArbiterAnswer {
    if (!isObject(header)) throw new UserError('an answer without a header')
    const revision = integer(header, 'revision')
    const found = { identity: `cluster ${integer(header, 'cluster_id')}`, decision: stored?.decision }
    this.#memory.learn(before.known, found)
    if (revision < before.revision) {
      this.#memory.condemn(
        `it has forgotten revisions: now at ${revision}, it was at ${before.revision}. Was it restored from an older copy?`,
      )
    }
    if (stored !== undefined) {
      this.#compareHistory(stored)
      // An answer shows the key as it was at the answer's revision: what is newer than that was put later.
      const isNews = stored.decision.epoch > (before.known.decision?.epoch ?? 0)
      if (isNews && stored.revision <= before.revision) {
        this.#memory.condemn(
          'it has a decision from before, when there was none. Was it restored from an older copy?',
        )
      }
    }
    if (revision > this.#revision) this.#revision = revision
    return { kind: 'current', decision: stored?.decision }
  }

  /** The key must be the one that was seen, and have been put once for each decision. */
  #compareHistory(stored: Stored): void {
    const seen = this.#stored
    this.#stored ??= stored
    if (seen === undefined) return
    if (seen.createRevision !== stored.createRevision || seen.putsBefore !== stored.putsBefore) {
      this.#memory.condemn('the key was removed, or changed by something else, since it was first read')
    }
  }

  #distrusted(): ArbiterAnswer | undefined {
    const { distrust } = this.#memory
    return distrust === undefined ? undefined : { kind: 'untrusted', reason: distrust }
  }

  #storedIn(range: JsonObject): Stored | undefined {
    const pair = objects(range['kvs'])[0]
    if (pair === undefined) return undefined
    const { value } = pair
    if (typeof value !== 'string') throw new UserError('an answer without a value')
    const decision = this.#decode(value)
    const putsBefore = integer(pair, 'version') - BigInt(decision.epoch)
    const [createRevision, revision] = [integer(pair, 'create_revision'), integer(pair, 'mod_revision')]
    return { decision, createRevision, revision, putsBefore }
  }

  #decode(value: string): Decision {
    const what = `etcd's key ${Buffer.from(this.#key, 'base64')}`
    try {
      return decodeRecord(Buffer.from(value, 'base64'), this.#machine, what)
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      throw new UntrustedError(`${error.message}: restore it from a backup`)
    }
  }
}

function base64(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64')
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The objects of an array; none if it is missing, as an empty one is. */
function objects(value: JsonValue | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]).filter(isObject) : []
}

/** A 64-bit number, which the gateway writes as a string. */
function integer(object: JsonObject, name: string): bigint {
  const value = object[name]
  if (typeof value !== 'string' || !/^[0-9]{1,20}$/.test(value)) {
    throw new UserError(`an answer without ${name}: is it etcd?`)
  }
  return BigInt(value)
}

/** An error of our own in a promise must stop this copy as one outside does. */
function stopProcess(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}
