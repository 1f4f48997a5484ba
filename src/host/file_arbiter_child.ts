/**
 * The process that touches the storage of a file arbiter: `node file_arbiter_child.ts DIR MACHINE`, with requests and
 * replies on the channel to its parent. It may hang in any call for as long as the storage does; the parent goes on.
 * One request at a time, in order. It ends when its parent has ended or given it up.
 */
import { UserError } from '../base/errors.ts'
import type { Decision } from '../replication/arbiter.ts'
import type { Known } from './arbiter_memory.ts'
import { DecisionDirectory } from './decision_directory.ts'
import { systemErrorCode } from './file_error.ts'
import { storageError, UntrustedError } from './shared_files.ts'

export type StorageRequest =
  | { readonly kind: 'read'; readonly known: Known }
  | {
      readonly kind: 'propose'
      readonly known: Known
      readonly expected: Decision | undefined
      readonly proposed: Decision
    }
  | { readonly kind: 'write nonce'; readonly known: Known; readonly host: string }
  | { readonly kind: 'has nonce'; readonly known: Known; readonly host: string; readonly nonce: string }

export type StorageReply =
  | { readonly kind: 'found'; readonly found: Known }
  | { readonly kind: 'nonce'; readonly nonce: string }
  | { readonly kind: 'has nonce'; readonly hasNonce: boolean }
  | { readonly kind: 'unreachable' | 'untrusted'; readonly reason: string }
  /** A mistake of our own, with its stack: it must not pass for a fault of the storage. */
  | { readonly kind: 'fault'; readonly stack: string }

export interface NumberedRequest {
  readonly id: number
  readonly request: StorageRequest
}

/** Number 0 says that the process has started. */
export interface NumberedReply {
  readonly id: number
  readonly reply?: StorageReply
}

function reply(directory: DecisionDirectory, path: string, request: StorageRequest): StorageReply {
  try {
    return perform(directory, request)
  } catch (error) {
    const problem = systemErrorCode(error) === undefined ? error : storageError(error, 'use', path)
    if (problem instanceof UntrustedError) return { kind: 'untrusted', reason: problem.message }
    if (problem instanceof UserError) return { kind: 'unreachable', reason: problem.message }
    return { kind: 'fault', stack: error instanceof Error ? `${error.stack}` : String(error) }
  }
}

function perform(directory: DecisionDirectory, request: StorageRequest): StorageReply {
  const { known } = request
  switch (request.kind) {
    case 'read':
      return { kind: 'found', found: directory.read(known) }
    case 'propose':
      return { kind: 'found', found: directory.propose(known, request.expected, request.proposed) }
    case 'write nonce':
      return { kind: 'nonce', nonce: directory.writeNonce(known, request.host) }
    case 'has nonce':
      return { kind: 'has nonce', hasNonce: directory.hasNonce(known, request.host, request.nonce) }
  }
}

function main(): void {
  const [path = '', machine = ''] = process.argv.slice(2)
  const directory = new DecisionDirectory(path, machine)
  const send = (message: NumberedReply): void => {
    // The parent may have gone in between.
    process.send?.(message, undefined, undefined, () => {})
  }
  // What ends the parent must not end this before the parent's last request; it ends with the channel.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  process.on('disconnect', () => process.exit())
  process.on('message', ({ id, request }: NumberedRequest) =>
    send({ id, reply: reply(directory, path, request) }),
  )
  send({ id: 0 })
}

main()
