/** What all parts of a member share: who it is, what time it is, and where effects are collected. */
import { assert } from '../base/assert.ts'
import type { Configuration, MemberIdentity } from './configuration.ts'
import type { Message } from './message.ts'
import type { Bug } from './planted.ts'
import type { Effect, MemberOptions } from './ports.ts'
import type { Settings } from './settings.ts'

export class Context {
  readonly options: MemberOptions
  /** Time of the last tick. */
  nowMs = 0
  #effects: Effect[] = []
  #halted: string | undefined
  #channel = -1
  #request = 0

  constructor(options: MemberOptions) {
    this.options = options
  }

  get settings(): Settings {
    return this.options.settings
  }

  /** Why this member has ended; undefined while it lives. */
  get halted(): string | undefined {
    return this.#halted
  }

  /** This process as the member of a configuration, with the disk that it has or the one that joining gives it. */
  identity(disk: 'own' | 'joined'): MemberIdentity {
    const { host, incarnation, diskGeneration, joinGeneration } = this.options
    const generation = disk === 'own' ? diskGeneration : joinGeneration
    assert(generation !== undefined, 'a member without a disk')
    return { host, incarnation, diskGeneration: generation }
  }

  emit(effect: Effect): void {
    assert(this.#halted === undefined, `${effect.kind} after the halt`)
    this.#effects.push(effect)
  }

  send(channel: number, message: Message, urgent = false): void {
    this.emit({ kind: 'send', channel, message, urgent })
  }

  tell(text: string): void {
    this.emit({ kind: 'tell', text })
  }

  /** Ends this member. Whatever is left of the step must not emit anything more. */
  halt(reason: string): void {
    if (this.#halted !== undefined) return
    this.emit({ kind: 'halt', reason })
    this.#halted = reason
  }

  /** A number for a channel that this member opens. */
  newChannel(): number {
    this.#channel += 2
    return this.#channel
  }

  /** A number for a request to the arbiter. */
  newRequest(): number {
    return ++this.#request
  }

  /** Whether a test has planted this bug. */
  has(bug: Bug): boolean {
    return this.options.planted?.has(bug) ?? false
  }

  /** All effects since the last call. */
  takeEffects(): Effect[] {
    const effects = this.#effects
    this.#effects = []
    return effects
  }
}

/** Which part, if any, this process has in a configuration. */
export function partOf(
  context: Context,
  configuration: Configuration | undefined,
): 'primary' | 'backup' | 'none' {
  const { host, incarnation } = context.options
  const isMe = (member: MemberIdentity | undefined) =>
    member !== undefined && member.host === host && member.incarnation === incarnation
  if (isMe(configuration?.primary)) return 'primary'
  return isMe(configuration?.backup) ? 'backup' : 'none'
}
