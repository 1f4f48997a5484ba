/** The user of a connection in tests: keeps what comes, and notes what happens. */
import type { TcpConnection } from '../stack/tcp_connection.ts'
import type { TcpHandler } from '../stack/tcp_environment.ts'

export class RecordedHandler implements TcpHandler {
  readonly pieces: Uint8Array[] = []
  readonly events: string[] = []
  received = 0
  /** Bytes stay unread, so that the window closes, while this is false. */
  takes = true
  connection: TcpConnection | undefined
  onRoomCalled: (() => void) | undefined

  get content(): Buffer {
    return Buffer.concat(this.pieces)
  }

  /** Takes all that has come. */
  takeAll(): void {
    this.takes = true
    this.connection?.setUnread(0)
  }

  onOpen(): void {
    this.events.push('open')
  }

  onData(bytes: Uint8Array): void {
    this.pieces.push(bytes.slice())
    this.received += bytes.length
    if (this.takes) this.connection?.setUnread(0)
  }

  onEnd(): void {
    this.events.push('end')
  }

  onRoom(): void {
    this.events.push('room')
    this.onRoomCalled?.()
  }

  onReset(): void {
    this.events.push('reset')
  }
}
