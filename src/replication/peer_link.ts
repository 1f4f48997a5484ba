/**
 * A channel to one host that is opened again whenever it is not there.
 *
 *     down --dial--> dialing --opened--> greeting --hello received--> up
 *       ^---------------- closed, or the wrong process ----------------'
 *
 * A channel can look open and carry nothing: whoever is not up in the suspicion time starts again.
 */
import type { Context } from './context.ts'
import type { Hello } from './message.ts'

export type LinkState = 'down' | 'dialing' | 'greeting' | 'up'

export class PeerLink {
  readonly host: string
  readonly #context: Context
  #state: LinkState = 'down'
  #channel = -1
  #nextDialMs = 0
  /** When the state changed last. */
  #sinceMs = 0
  /** Incarnation of the process at the other end, once it has said hello. */
  #peer: string | undefined

  constructor(context: Context, host: string) {
    this.#context = context
    this.host = host
  }

  get state(): LinkState {
    return this.#state
  }

  get isUp(): boolean {
    return this.#state === 'up'
  }

  get channel(): number {
    return this.#channel
  }

  get peer(): string | undefined {
    return this.#peer
  }

  /** For how long it has been in its state, in milliseconds. */
  get ageMs(): number {
    return this.#context.nowMs - this.#sinceMs
  }

  /** Whether an input of this channel is this link's. */
  owns(channel: number): boolean {
    return this.#state !== 'down' && channel === this.#channel
  }

  /** Dials if it is down and the time has come; gives up what gets nowhere. */
  onTick(): void {
    const isPending = this.#state === 'dialing' || this.#state === 'greeting'
    if (isPending && this.ageMs >= this.#context.settings.suspicionMs) return this.close()
    if (this.#state === 'down' && this.#context.nowMs >= this.#nextDialMs) this.#dial()
  }

  onOpened(): void {
    const { machine, host, incarnation } = this.#context.options
    this.#become('greeting')
    this.#context.send(this.#channel, { kind: 'hello', machine, host, incarnation })
  }

  /** Takes the other side's hello; false (and closed) if it is another machine or host. */
  onHello(hello: Hello): boolean {
    if (hello.machine !== this.#context.options.machine || hello.host !== this.host) {
      this.#context.tell(`${this.host} answers as ${hello.host} with machine ${hello.machine}`)
      this.close()
      return false
    }
    this.#become('up')
    this.#peer = hello.incarnation
    return true
  }

  /** The other side closed it, or it broke. One that was up is dialled again at once: whether that is refused tells. */
  onClosed(): void {
    const wasUp = this.#state === 'up'
    this.#forget()
    if (wasUp) this.#dial()
  }

  /** Closes the channel; it is dialled again after a while unless the owner stops calling `onTick`. */
  close(): void {
    if (this.#state !== 'down') this.#context.emit({ kind: 'close', channel: this.#channel })
    this.#forget()
  }

  #dial(): void {
    this.#become('dialing')
    this.#channel = this.#context.newChannel()
    this.#context.emit({ kind: 'dial', channel: this.#channel, host: this.host })
  }

  #forget(): void {
    this.#become('down')
    this.#peer = undefined
    this.#nextDialMs = this.#context.nowMs + this.#context.settings.dialRetryMs
  }

  #become(state: LinkState): void {
    this.#state = state
    this.#sinceMs = this.#context.nowMs
  }
}
