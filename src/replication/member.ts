/**
 * One process's part in one machine: the whole of the replication protocol, as a state machine.
 *
 *     starting --> joining --> backup --> primary
 *         '------------------------------^            any of them --> halted
 *
 * `step` takes one input and returns the effects to carry out, in order; ports.ts has the duties that go with them.
 * Nothing here does I/O, reads a clock or draws a random number: given the same inputs a member does the same.
 *
 * docs/protocol.md says the protocol in numbered statements, which comments cite as (P30).
 *
 * The roles have their own files. Here is what they share: greeting whoever opens a channel, answering for the dead,
 * routing, and the check of the invariants after every step.
 */
import { ArbiterDialog } from './arbiter_dialog.ts'
import { Context } from './context.ts'
import { checkEffects } from './effects.ts'
import type { Message } from './message.ts'
import type { Effect, Input, MemberOptions } from './ports.ts'
import type { Protection } from './protection.ts'
import type { Peer, Role, RoleParts } from './role.ts'
import { Starting } from './starting.ts'

export class Member {
  readonly #parts: RoleParts
  #role: Role
  /** Channels that others opened; the value is who they say they are. */
  readonly #accepted = new Map<number, Peer | undefined>()

  constructor(options: MemberOptions) {
    const context = new Context(options)
    const become = (role: Role) => {
      this.#role = role
    }
    this.#parts = { context, dialog: new ArbiterDialog(context), become }
    this.#role = new Starting(this.#parts)
  }

  get role(): Role {
    return this.#role
  }

  protection(): Protection {
    const reason = this.#parts.context.halted
    return reason === undefined ? this.#role.protection() : { state: 'halted', reason }
  }

  /** Whether a change that it has proposed is undecided. */
  get isProposing(): boolean {
    return this.#parts.dialog.isProposing
  }

  /** Why this member has ended; undefined while it lives. */
  get halted(): string | undefined {
    return this.#parts.context.halted
  }

  /** Takes one input. After a halt nothing happens any more. */
  step(input: Input): Effect[] {
    const { context } = this.#parts
    if (context.halted !== undefined) return []
    this.#take(input)
    if (context.halted === undefined) this.#role.checkInvariants()
    const effects = context.takeEffects()
    checkEffects(effects)
    for (const effect of effects) if (effect.kind === 'close') this.#accepted.delete(effect.channel)
    return effects
  }

  #take(input: Input): void {
    const { context, dialog } = this.#parts
    switch (input.kind) {
      case 'tick':
        context.nowMs = input.nowMs
        dialog.onTick()
        return this.#role.onTick()
      case 'opened':
        if (input.host === undefined) this.#accepted.set(input.channel, undefined)
        else this.#role.onOpened(input.channel)
        return
      case 'closed':
        this.#accepted.delete(input.channel)
        return this.#role.onClosed(input.channel, input.isRefused)
      case 'message':
        return this.#onMessage(input.channel, input.message)
      case 'answer': {
        const outcome = dialog.onAnswer(input.request, input.answer)
        if (outcome !== undefined && context.halted === undefined) this.#role.onOutcome(outcome)
        return
      }
      case 'operator':
        return this.#role.onOperator(input.command)
      default:
        return this.#role.onMachine(input)
    }
  }

  #onMessage(channel: number, message: Message): void {
    if (!this.#accepted.has(channel)) return this.#role.onMessage(channel, message, undefined)
    const peer = this.#accepted.get(channel)
    if (peer === undefined) return this.#greet(channel, message)
    if (message.kind === 'confirm') return this.#confirm(channel, message.incarnation)
    if (this.#role.name === 'primary') return this.#role.onMessage(channel, message, peer)
    this.#refuse(channel, 'not the primary')
  }

  #greet(channel: number, message: Message): void {
    const { context } = this.#parts
    const { machine, host, incarnation } = context.options
    if (message.kind !== 'hello') return this.#refuse(channel, 'no hello')
    if (message.machine !== machine) return this.#refuse(channel, `this is machine ${machine}`)
    this.#accepted.set(channel, { host: message.host, incarnation: message.incarnation })
    context.send(channel, { kind: 'hello', machine, host, incarnation })
  }

  /**
   * Answers for the incarnations of this host. There is one process of a machine on a host at a time, so any other
   * incarnation than this one is dead, and stays dead.
   */
  #confirm(channel: number, incarnation: string): void {
    const isDead = incarnation !== this.#parts.context.options.incarnation
    this.#parts.context.send(channel, { kind: 'confirmed', incarnation, isDead })
  }

  #refuse(channel: number, reason: string): void {
    const { context } = this.#parts
    context.send(channel, { kind: 'refused', reason })
    context.emit({ kind: 'close', channel })
  }
}
