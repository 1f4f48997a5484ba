/**
 * The arbiter that is a directory on storage both hosts see (decision_directory.ts). The storage is touched only by a
 * process of its own, so that a hung network file system stalls nothing else.
 */
import { UserError } from '../base/errors.ts'
import type { Arbiter, Decision, OnAnswer } from '../replication/arbiter.ts'
import { ArbiterMemory, type ArbiterPast, type Known } from './arbiter_memory.ts'
import { assertProposal } from './decision_record.ts'
import type { StorageReply, StorageRequest } from './file_arbiter_child.ts'
import { FileArbiterProcess } from './file_arbiter_process.ts'

/** Storage that has to be proved to be the same for two hosts: what one writes the other must find. */
export interface SharedStorage {
  /** Leaves a random nonce there in the name of `host`. Rejects with a UserError if that cannot be done. */
  writeNonce(host: string): Promise<string>
  /** Whether `host` left `nonce` there. Rejects with a UserError if that cannot be found out. */
  hasNonce(host: string, nonce: string): Promise<boolean>
}

export class FileArbiter implements Arbiter, SharedStorage {
  readonly #memory: ArbiterMemory
  readonly #process: FileArbiterProcess

  /** `path` is the directory, which must exist; `machine` a checked name. */
  constructor(path: string, machine: string, timeoutMs: number, past?: ArbiterPast) {
    this.#memory = new ArbiterMemory(path, past)
    this.#process = new FileArbiterProcess([path, machine], timeoutMs)
  }

  /** The process that touches the storage, if one runs. */
  get pid(): number | undefined {
    return this.#process.pid
  }

  read(onAnswer: OnAnswer): void {
    const { known } = this.#memory
    this.#process.request({ kind: 'read', known }, (reply) => this.#answer(known, reply, onAnswer))
  }

  propose(expected: Decision | undefined, proposed: Decision, onAnswer: OnAnswer): void {
    assertProposal(expected, proposed)
    const { known } = this.#memory
    this.#process.request({ kind: 'propose', known, expected, proposed }, (reply) =>
      this.#answer(known, reply, onAnswer),
    )
  }

  async writeNonce(host: string): Promise<string> {
    const reply = await this.#request({ kind: 'write nonce', known: this.#memory.known, host })
    return reply.kind === 'nonce' ? reply.nonce : refuse(reply)
  }

  async hasNonce(host: string, nonce: string): Promise<boolean> {
    const reply = await this.#request({ kind: 'has nonce', known: this.#memory.known, host, nonce })
    return reply.kind === 'has nonce' ? reply.hasNonce : refuse(reply)
  }

  close(): void {
    this.#process.close()
  }

  #request(request: StorageRequest): Promise<StorageReply> {
    return new Promise((resolve) => this.#process.request(request, resolve))
  }

  #answer(before: Known, reply: StorageReply, onAnswer: OnAnswer): void {
    if (reply.kind === 'found') this.#memory.learn(before, reply.found)
    const { distrust } = this.#memory
    if (distrust !== undefined) onAnswer({ kind: 'untrusted', reason: distrust })
    else if (reply.kind === 'found') onAnswer({ kind: 'current', decision: reply.found.decision })
    else if (reply.kind === 'unreachable' || reply.kind === 'untrusted') onAnswer(reply)
    else refuse(reply)
  }
}

function refuse(reply: StorageReply): never {
  throw new UserError(
    'reason' in reply ? reply.reason : `unexpected reply of the storage's process: ${reply.kind}`,
  )
}
