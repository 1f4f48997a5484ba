/**
 * What a process is for a machine at the moment: starting, joining, backup or primary. A member has one role at a time;
 * each hands over to the next by `become`.
 */
import type { ArbiterDialog, Outcome } from './arbiter_dialog.ts'
import type { Context } from './context.ts'
import type { Message } from './message.ts'
import type { Input, OperatorCommand } from './ports.ts'
import type { Protection } from './protection.ts'

export interface RoleParts {
  readonly context: Context
  readonly dialog: ArbiterDialog
  /** Takes another role; nothing is given to the old one any more. */
  readonly become: (role: Role) => void
}

export interface Role {
  readonly name: 'starting' | 'joining' | 'backup' | 'primary'
  protection(): Protection
  onTick(): void
  /** A channel that this role dialled is open. */
  onOpened(channel: number): void
  onClosed(channel: number, isRefused: boolean): void
  /** `peer` is who the other side said it is; undefined if this is its hello. */
  onMessage(channel: number, message: Message, peer: Peer | undefined): void
  onOutcome(outcome: Outcome): void
  /** What the machine, its disk or its link to the world reports. */
  onMachine(input: Input): void
  onOperator(command: OperatorCommand): void
  /** @throws AssertionError if this copy has broken its own rules */
  checkInvariants(): void
}

/** Who is at the other end of a channel. */
export interface Peer {
  readonly host: string
  readonly incarnation: string
}
