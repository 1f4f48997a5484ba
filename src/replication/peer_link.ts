/**
 * A channel to one host that is opened again whenever it is not there.
 *
 *     down --dial--> dialing --opened--> greeting --hello received--> up
 *       ^-------- closed, the wrong process, or no answer -------------'
 *
 * A host that loses its power closes nothing, so whatever does not come up is given up after `stallMs`.
 */
import type { Context } from './context.ts'
import type { Hello } from './message.ts'

type LinkState = 'down' | 'dialing' | 'greeting' | 'up'

export class PeerLink {
  readonly host: string
  readonly #context: Context
  #state: LinkState = 'down'
  #channel = -1
  #nextDialMs = 0
  #redialledMs = Number.NEGATIVE_INFINITY
  /** When the state was entered. */
  #sinceMs = 0

  constructor(context: Context, host: string) {
    this.#context = context
    this.host = host
  }

  get isUp(): boolean {
    return this.#state === 'up'
  }

  /** How long the link has been in its state, in milliseconds. */
  get ageMs(): number {
    return this.#context.nowMs - this.#sinceMs
  }

  get channel(): number {
    return this.#channel
  }

  /** Whether an input of this channel is this link's. */
  owns(channel: number): boolean {
    return this.#state !== 'down' && channel === this.#channel
  }

  /** Dials if it is down and the time has come; gives up an attempt that gets nowhere. */
  onTick(): void {
    const { nowMs, settings } = this.#context
    if (this.#state === 'down' && nowMs >= this.#nextDialMs) return this.#dial()
    const isTrying = this.#state === 'dialing' || this.#state === 'greeting'
    if (isTrying && this.ageMs >= settings.stallMs) this.close()
  }

  onOpened(): void {
    const { machine, host, incarnation } = this.#context.options
    this.#enter('greeting')
    this.#context.send(this.#channel, { kind: 'hello', machine, host, incarnation })
  }

  /** Takes the other side's hello; false (and closed) if it is another machine or host. */
  onHello(hello: Hello): boolean {
    if (hello.machine !== this.#context.options.machine || hello.host !== this.host) {
      this.#context.tell(`${this.host} answers as ${hello.host} with machine ${hello.machine}`)
      this.close()
      return false
    }
    this.#enter('up')
    return true
  }

  /**
   * The other side closed it, or it broke. One that was up is dialled again at once, since whether that is refused
   * tells; but only once in `dialRetryMs`, or two that do not understand each other would never rest.
   */
  onClosed(): void {
    const { nowMs, settings } = this.#context
    const mayRedial = this.#state === 'up' && nowMs - this.#redialledMs >= settings.dialRetryMs
    this.#forget()
    if (!mayRedial) return
    this.#redialledMs = nowMs
    this.#dial()
  }

  /** Closes the channel; it is dialled again after a while unless the owner stops calling `onTick`. */
  close(): void {
    if (this.#state !== 'down') this.#context.emit({ kind: 'close', channel: this.#channel })
    this.#forget()
  }

  #dial(): void {
    this.#enter('dialing')
    this.#channel = this.#context.newChannel()
    this.#context.emit({ kind: 'dial', channel: this.#channel, host: this.host })
  }

  #enter(state: LinkState): void {
    this.#state = state
    this.#sinceMs = this.#context.nowMs
  }

  #forget(): void {
    this.#enter('down')
    this.#nextDialMs = this.#context.nowMs + this.#context.settings.dialRetryMs
  }
}
