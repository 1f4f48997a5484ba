/** What goes into the toy machine and what comes out of it, apart from log records. */

/** The machine's ports: clients' requests and answers, the console, and where entropy arrives. */
export const PORT = { net: 1, console: 2, entropy: 3 } as const

/** `number` counts from 1 in each life. Write data are copied out at the request's position. */
export interface DiskRequest {
  readonly kind: 'read' | 'write' | 'flush'
  readonly number: number
  readonly offset: number
  readonly length: number
  /** Of a write; else empty. */
  readonly bytes: Uint8Array
}

/** Something that the guest has put out, at a position. */
export interface GuestOutput {
  readonly port: number
  readonly ordinal: number
  readonly bytes: Uint8Array
  readonly position: number
}
