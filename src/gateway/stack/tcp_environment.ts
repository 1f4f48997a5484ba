/** What a TCP connection has around it: its user on one side, the network on the other. */
import type { TcpConnection } from './tcp_connection.ts'
import type { SynOptions } from './tcp_segment.ts'
import type { Outgoing } from './tcp_sender.ts'

/** What happens to a connection. `onData` lends its bytes for the call. */
export interface TcpHandler {
  /** Both sides have said SYN. */
  onOpen(): void
  onData(bytes: Uint8Array): void
  /** The guest sends nothing any more. */
  onEnd(): void
  /** There is room again after `write` said that there is none. */
  onRoom(): void
  /** The guest has reset the connection, or never answered. */
  onReset(): void
}

export interface Endpoints {
  /** The address that the guest sees at the other end. */
  readonly remoteAddress: number
  readonly remotePort: number
  readonly guestPort: number
}

/** What a connection needs of the network around it. */
export interface TcpEnvironment {
  /** Milliseconds; stands still while no primary is attached. */
  readonly now: number
  /** A frame can reach the guest. */
  readonly canSend: boolean
  transmit(connection: TcpConnection, header: Header, content: Outgoing | undefined): void
  /** The deadline has come nearer. */
  schedule(connection: TcpConnection): void
  /** The guest's call has been answered, or it has taken it back. */
  decided(): void
  forget(connection: TcpConnection): void
}

export interface Header {
  readonly flags: number
  readonly sequence: number
  readonly acknowledgment: number
  readonly window: number
  readonly options: SynOptions | undefined
}
