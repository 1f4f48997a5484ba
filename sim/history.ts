/** What the clients of a run have asked and been answered. */
import type { Answer, Request } from './toy_service.ts'

export interface ClientOperation {
  /** Who asked: never the same again after an operation without an answer. */
  readonly client: number
  /** The connection it came over, which one client after the other has; the machine counts requests by it. */
  readonly connection: number
  readonly callMs: number
  /** Undefined if it is open: it may take effect at any time, or never. */
  returnMs: number | undefined
  readonly request: Request
  /** Undefined if it is open. */
  answer: Answer | undefined
}
