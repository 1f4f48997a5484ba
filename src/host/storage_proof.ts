/**
 * The proof that two hosts have the same arbiter, by which what they have at an address could be two: each leaves a random
 * nonce there, tells it in the handshake of its channels, and finds that of the other. Two hosts that decide in different
 * places would both act.
 *
 * It is asked for once of each process of a peer: a channel that breaks later must come back while the storage hangs,
 * since only that tells a dead peer from a broken channel.
 */
import { randomBytes } from 'node:crypto'
import { UserError } from '../base/errors.ts'
import type { SharedStorage } from './file_arbiter.ts'
import type { Terms } from './secure_handshake.ts'

/** Nonces are removed from the storage after a day. */
const REFRESH_MS = 3_600_000
/** Storage that could not be written is tried again after this long. */
const RETRY_MS = 1000

/** Names in a handshake's info. */
const PROCESS = 'arbiterProcess'
const NONCE = 'arbiterNonce'

export class StorageProof {
  readonly #storage: SharedStorage
  readonly #host: string
  /** Tells this process from others of its host. */
  readonly #process = randomBytes(16).toString('hex')
  readonly #onNotice: (text: string) => void
  #nonce: string | undefined
  /** Processes of peers whose storage is this one, by host: the last of each. */
  readonly #proved = new Map<string, string>()
  /** Attempts to write in a row that have failed. */
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor(storage: SharedStorage, host: string, onNotice: (text: string) => void) {
    this.#storage = storage
    this.#host = host
    this.#onNotice = onNotice
  }

  /** Leaves the first nonce, or has tried to when this resolves; from then on there is always a fresh one. */
  async open(): Promise<void> {
    await this.#write()
  }

  /** What peers are told. */
  get info(): Terms {
    return this.#nonce === undefined ? {} : { [PROCESS]: this.#process, [NONCE]: this.#nonce }
  }

  /** Why a peer, by what it has told, is not known to have the same storage; undefined if it is. */
  async problem(peer: string, info: Terms): Promise<string | undefined> {
    const { [PROCESS]: process, [NONCE]: nonce } = info
    if (process === undefined || nonce === undefined) return `${peer} has not written to the arbiter so far`
    if (this.#proved.get(peer) === process) return undefined
    if (this.#isClosed) return 'this process ends'
    try {
      if (await this.#storage.hasNonce(peer, nonce)) {
        this.#proved.set(peer, process)
        return undefined
      }
      return `the arbiter is another one than that of ${peer}, whose mark is not there: both must see the same directory or etcd cluster`
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return `whether ${peer} has the same arbiter cannot be found out: ${error.message}`
    }
  }

  /** To be called before the storage is closed. */
  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  async #write(): Promise<void> {
    if (this.#isClosed) return
    try {
      this.#nonce = await this.#storage.writeNonce(this.#host)
      this.#failures = 0
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      // The first may have come while the arbiter's process was starting, and the others say the same.
      if (++this.#failures === 2) this.#onNotice(`no mark at the arbiter: ${error.message}`)
    }
    if (this.#isClosed) return
    this.#timer = setTimeout(() => void this.#write(), this.#failures === 0 ? REFRESH_MS : RETRY_MS)
    this.#timer.unref()
  }
}
