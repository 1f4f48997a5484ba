/**
 * A process that has no part yet: it finds out from the arbiter what it can be.
 *
 *     reading --nothing there, may create----------------------------> claiming --won--> (primary, booting)
 *        |----the recorded primary's disk is here, no backup named---> claiming
 *        |----the same, with a backup named--> confirming --dead-----> claiming
 *        |----another host's copy runs-------------------------------> (joining)
 *        '----stopped, or nothing that it may do---------------------> waiting --after arbiterRetryMs--> reading
 *
 * The cold start is the one change that a non-member makes, and the disk is what entitles it: this host holds the lock
 * of the disk whose generation the configuration names as the primary's, so the primary's process is dead. While the
 * configuration names a backup, that one may still go live, with more than the disk has: so its host must say first that
 * the incarnation is dead (it then stays dead). The operator may overrule this, and may start from the recorded backup's
 * disk, which can lack data that the guest has flushed. A disk that the configuration does not name never boots
 * (P49 to P53).
 */
import type { Outcome } from './arbiter_dialog.ts'
import { type Configuration, startCold } from './configuration.ts'
import { Joiner } from './joiner.ts'
import type { Message } from './message.ts'
import { OutputGate } from './output_gate.ts'
import { PeerLink } from './peer_link.ts'
import type { OperatorCommand } from './ports.ts'
import { Primary } from './primary.ts'
import type { Protection, ProtectionReason } from './protection.ts'
import type { Role, RoleParts } from './role.ts'

export class Starting implements Role {
  readonly name = 'starting'
  readonly #parts: RoleParts
  #current: Configuration | undefined
  #link: PeerLink | undefined
  #isStopped = false
  #reason: ProtectionReason = 'starting'
  #isForced: boolean
  #told = ''

  /** `isForced`: the operator's word, given before; he may give it later too. */
  constructor(parts: RoleParts, isForced = parts.context.options.force) {
    this.#parts = parts
    this.#isForced = isForced
  }

  protection(): Protection {
    if (this.#isStopped) return { state: 'stopped' }
    const reason = this.#parts.dialog.isReachable ? this.#reason : 'arbiter unreachable'
    return { state: 'not protected', reason }
  }

  onTick(): void {
    this.#link?.onTick()
    // Whoever is asked answers at once, or is gone without having closed the channel.
    if (this.#link?.isUp && this.#link.ageMs >= this.#parts.context.settings.stallMs) this.#link.close()
    this.#parts.dialog.poll()
  }

  onOpened(channel: number): void {
    if (this.#link?.owns(channel)) this.#link.onOpened()
  }

  onClosed(channel: number): void {
    if (this.#link?.owns(channel)) this.#link.onClosed()
  }

  onMessage(channel: number, message: Message): void {
    const link = this.#link
    const backup = this.#current?.backup
    if (link === undefined || !link.owns(channel) || backup === undefined) return
    if (message.kind === 'hello') {
      if (!link.onHello(message)) return
      return this.#parts.context.send(channel, { kind: 'confirm', incarnation: backup.incarnation })
    }
    if (message.kind !== 'confirmed' || message.incarnation !== backup.incarnation) return
    if (message.isDead) return this.#claim()
    this.#wait(`the backup at ${backup.host} lives: it will go live, or the operator forces a cold start`)
    link.close()
  }

  onOutcome(outcome: Outcome): void {
    this.#current = outcome.current
    if (outcome.kind === 'won') return this.#boot(outcome.current)
    this.#decide()
  }

  onMachine(): void {}

  onOperator(command: OperatorCommand): void {
    if (command === 'force') this.#isForced = true
  }

  checkInvariants(): void {}

  #decide(): void {
    const current = this.#current
    const { options } = this.#parts.context
    this.#isStopped = current?.phase === 'stopped'
    if (current === undefined) {
      if (options.mayCreate && options.diskGeneration !== undefined) this.#claim()
      else this.#wait('there is no such machine yet')
      return
    }
    if (this.#isStopped && !options.mayRestart) return this.#wait('the machine is stopped')
    if (this.#hasDiskOf(current.primary)) return this.#startFromOwnDisk(current)
    // Of a machine that was stopped both disks are whole; else the backup's may lack what the guest has flushed.
    if ((this.#isForced || this.#isStopped) && this.#hasDiskOf(current.backup)) return this.#claim()
    if (this.#isStopped) return this.#wait(`the machine is stopped, its disk is at ${current.primary.host}`)
    if (current.primary.host === options.host) {
      return this.#wait(`the disk of generation ${current.primary.diskGeneration} is not here any more`)
    }
    this.#link?.close()
    this.#parts.become(new Joiner(this.#parts, current))
  }

  #startFromOwnDisk(current: Configuration): void {
    const { context } = this.#parts
    const mayClaim = current.backup === undefined || this.#isForced || this.#isStopped
    if (mayClaim || context.has('cold start while a backup lives')) return this.#claim()
    this.#wait(`asking ${current.backup!.host} whether the backup is dead`, 'waiting for the backup host')
    if (this.#link?.host === current.backup!.host) return
    this.#link?.close()
    this.#link = new PeerLink(context, current.backup!.host)
  }

  #hasDiskOf(member: Configuration['backup']): boolean {
    const { host, diskGeneration } = this.#parts.context.options
    if (member === undefined || member.host !== host || diskGeneration === undefined) return false
    return member.diskGeneration === diskGeneration || this.#parts.context.has('cold start from an old disk')
  }

  #claim(): void {
    this.#parts.dialog.propose(this.#current, startCold(this.#current, this.#parts.context.identity('own')))
  }

  #boot(configuration: Configuration): void {
    this.#link?.close()
    this.#parts.context.emit({ kind: 'boot', life: configuration.life })
    const frontier = { nextIndex: 0n, position: 0n }
    this.#parts.become(new Primary(this.#parts, configuration, frontier, new OutputGate()))
  }

  #wait(what: string, reason: ProtectionReason = 'starting'): void {
    this.#reason = reason
    if (what === this.#told) return
    this.#told = what
    this.#parts.context.tell(what)
  }
}
