/**
 * Decisions as files on storage that both hosts see.
 *
 *     DIR/.identity           random, made once: another directory under the same path is noticed
 *     DIR/.nonces/NONCE       names the host that wrote it (see writeNonce)
 *     DIR/MACHINE/0000000007  decision 7 (decision_record.ts), never changed, never removed
 *     DIR/MACHINE/.*.tmp      being written, or left behind by a writer that died
 *
 * A decision is written and synced under a temporary name, and then linked to the name of its epoch, which fails if
 * there is one already. But a network file system may say that it failed although it took effect, or find one's own link
 * when it repeats a request. So what link(2) says counts for nothing: the directory is read again, and what
 * it holds is decided. A decision linked late, by a process that everybody has given up, does no harm: it either takes
 * the place that it was made for or finds it taken.
 *
 * Nobody answers with a decision before the entry is durable: not the writer, and no reader either.
 *
 * All calls block, possibly for ever: this runs in a process of its own (file_arbiter_child.ts).
 */
import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readdirSync, statSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { FormatError, UserError } from '../base/errors.ts'
import type { Decision } from '../replication/arbiter.ts'
import type { Known } from './arbiter_memory.ts'
import { decodeRecord, EPOCH_MAX, encodeRecord, isSameDecision, RECORD_BYTES_MAX } from './decision_record.ts'
import { systemErrorCode } from './file_error.ts'
import { inWords, readWhole, storageError, syncFolder, UntrustedError, writeSynced } from './shared_files.ts'

const EPOCH_NAME = /^[0-9]{10}$/
const IDENTITY = /^understudy arbiter 1 ([0-9a-f]{32})\n$/
const IDENTITY_BYTES_MAX = 256
const NONCE = /^[0-9a-f]{32}$/
const NONCE_BYTES_MAX = 256
/** A temporary file this much older than a new one has no living writer; if it has, its link will fail. */
const TEMPORARY_MS_MAX = 3_600_000
/** Long after the handshake that a nonce was for. */
const NONCE_MS_MAX = 86_400_000

export class DecisionDirectory {
  readonly #path: string
  readonly #folder: string
  readonly #machine: string
  /** The highest epoch whose entry is known to be durable. */
  #durableEpoch = 0
  #hasCleaned = false

  constructor(path: string, machine: string) {
    this.#path = path
    this.#folder = join(path, machine)
    this.#machine = machine
  }

  /**
   * The latest decision. Throws UntrustedError if the directory is not what it has to be, or another one than before; any
   * other UserError if it cannot be read, or nothing is there any more.
   */
  read(known: Known): Known {
    return this.#identified(known, () => this.#latest(known.decision))
  }

  /** Lets `proposed` follow `expected` if that is the latest, and returns what is the latest then. Throws as read does. */
  propose(known: Known, expected: Decision | undefined, proposed: Decision): Known {
    return this.#identified(known, () => {
      const latest = this.#latest(known.decision)
      if (!isSameDecision(latest, expected)) return latest
      return this.land(this.prepare(proposed), expected, proposed)
    })
  }

  /** The first half of a proposal: the decision under a temporary name, durable. Returns the path. */
  prepare(proposed: Decision): string {
    if (!this.#refresh()) {
      makeFolder(this.#folder)
      syncFolder(this.#path)
    }
    const temporary = join(this.#folder, temporaryName(epochName(proposed.epoch)))
    inWords('write', temporary, () => writeSynced(temporary, encodeRecord(this.#machine, proposed)))
    if (!this.#hasCleaned) {
      removeOlder(this.#folder, temporary, { pattern: /^\..*\.tmp$/, ageMs: TEMPORARY_MS_MAX })
      this.#hasCleaned = true
    }
    return temporary
  }

  /** The second half: links it to its name, and reads what has become of it. */
  land(temporary: string, expected: Decision | undefined, proposed: Decision): Decision | undefined {
    const name = join(this.#folder, epochName(proposed.epoch))
    const error = linkAndRemove(temporary, name)
    const latest = this.#latest(expected)
    if (!isSameDecision(latest, expected)) return latest
    // It may still appear: to say that it does not apply would be a guess.
    throw linkError(error, name)
  }

  /** Leaves a random name in the directory, which only those who see the same storage can find. Throws as read does. */
  writeNonce(known: Known, host: string): string {
    const folder = join(this.#path, '.nonces')
    const nonce = randomBytes(16).toString('hex')
    const path = join(folder, nonce)
    this.#identity(known)
    makeFolder(folder)
    inWords('write', path, () => writeSynced(path, `${host}\n`))
    syncFolder(folder)
    removeOlder(folder, path, { pattern: NONCE, ageMs: NONCE_MS_MAX })
    return nonce
  }

  /** Whether `host` wrote `nonce` to this directory. Throws as read does. */
  hasNonce(known: Known, host: string, nonce: string): boolean {
    if (!NONCE.test(nonce)) return false
    const folder = join(this.#path, '.nonces')
    this.#identity(known)
    this.#refreshFolder(this.#path)
    if (!this.#refreshFolder(folder)) return false
    const bytes = readWhole(join(folder, nonce), NONCE_BYTES_MAX)
    return bytes !== undefined && Buffer.from(bytes).toString() === `${host}\n`
  }

  /** Runs `work` in the directory that is known, and makes sure that it still was that one afterwards. */
  #identified(known: Known, work: () => Decision | undefined): Known {
    const identity = this.#identity(known)
    try {
      return { identity, decision: work() }
    } finally {
      // Whatever was found, or missed, counts only if it is the same directory still.
      this.#requireStill(identity)
    }
  }

  #requireStill(identity: string): void {
    const now = this.#readIdentity()
    if (now === undefined) throw this.#gone()
    if (now !== identity) {
      throw new UntrustedError(`${this.#path} became another directory: check what is mounted there`)
    }
  }

  /** Nothing has answered: the storage is not mounted, and may come back. */
  #gone(): UserError {
    return new UserError(`${this.#path} is not the directory of decisions any more: is it mounted?`)
  }

  #identity(known: Known): string {
    const identity = this.#readIdentity()
    if (known.identity !== undefined && identity !== known.identity) {
      if (identity === undefined) throw this.#gone()
      throw new UntrustedError(
        `${this.#path} is another directory than before (identity ${identity}, it was ${known.identity}): check what is mounted there`,
      )
    }
    return identity ?? this.#makeIdentity()
  }

  #readIdentity(): string | undefined {
    const path = join(this.#path, '.identity')
    const bytes = readWhole(path, IDENTITY_BYTES_MAX)
    if (bytes === undefined) return undefined
    const identity = IDENTITY.exec(Buffer.from(bytes).toString('latin1'))?.[1]
    if (identity === undefined) throw new UntrustedError(`${path}: damaged: restore it from a backup`)
    return identity
  }

  #makeIdentity(): string {
    const path = join(this.#path, '.identity')
    if ((this.#records() ?? []).length > 0) {
      throw new UntrustedError(`${path} is missing, though there are decisions: restore it from a backup`)
    }
    const temporary = join(this.#path, temporaryName('identity'))
    const text = `understudy arbiter 1 ${randomBytes(16).toString('hex')}\n`
    this.#inDirectory(() => writeSynced(temporary, text))
    const error = linkAndRemove(temporary, path)
    syncFolder(this.#path)
    const identity = this.#readIdentity()
    if (identity === undefined) throw linkError(error, path)
    return identity
  }

  /** The first touch of a directory that may not be there at all. */
  #inDirectory(work: () => void): void {
    try {
      work()
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw storageError(error, 'write to', this.#path)
      throw new UserError(
        `${this.#path}: no such directory: mount the storage that both hosts see, or make the directory there`,
      )
    }
  }

  #latest(seen: Decision | undefined): Decision | undefined {
    this.#refresh()
    const epochs = this.#records()
    const count = epochs?.length ?? 0
    if (count === 0) return undefined
    if (count > this.#durableEpoch) {
      syncFolder(this.#folder)
      if (this.#durableEpoch === 0) syncFolder(this.#path)
      this.#durableEpoch = count
    }
    if (seen !== undefined && seen.epoch < count && !isSameDecision(this.#record(seen.epoch), seen)) {
      throw new UntrustedError(`${this.#path}: decision ${seen.epoch} is another one than before`)
    }
    return this.#record(count)
  }

  /** The epochs in the directory, which count from 1 without a gap; undefined if the machine has no folder. */
  #records(): readonly number[] | undefined {
    const names = listFolder(this.#folder)
    // What begins with a digit and is no epoch was renamed, or is the conflicting copy of a program that synchronizes.
    const stray = names?.find((name) => /^[0-9]/.test(name) && !isEpochName(name))
    if (stray !== undefined) {
      throw new UntrustedError(`${join(this.#folder, stray)}: not the name of a decision: move it elsewhere`)
    }
    const epochs = names?.filter(isEpochName).map(Number)
    const gap = epochs?.toSorted((a, b) => a - b).findIndex((epoch, i) => epoch !== i + 1) ?? -1
    if (gap >= 0) {
      const missing = join(this.#folder, epochName(gap + 1))
      throw new UntrustedError(`${missing} is missing, though there are later ones: restore it from a backup`)
    }
    return epochs
  }

  #record(epoch: number): Decision {
    const path = join(this.#folder, epochName(epoch))
    const bytes = readWhole(path, RECORD_BYTES_MAX)
    if (bytes === undefined) throw new UntrustedError(`${path} has vanished: restore it from a backup`)
    try {
      const decision = decodeRecord(bytes, this.#machine, path)
      if (decision.epoch === epoch) return decision
      throw new FormatError(`${path}: holds decision ${decision.epoch}`)
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      throw new UntrustedError(`${error.message}: restore it from a backup`)
    }
  }

  /** False if there is no folder of this machine. */
  #refresh(): boolean {
    if (this.#refreshFolder(this.#folder)) return true
    this.#refreshFolder(this.#path)
    return this.#refreshFolder(this.#folder)
  }

  /**
   * Makes an NFS client forget what it has cached of a folder: it may go on for a minute with an old list, but not
   * after it has changed the folder itself. A link needs no room in a full file system. False if there is no folder.
   */
  #refreshFolder(folder: string): boolean {
    const temporary = join(folder, temporaryName('refresh'))
    const error = linkAndUnlink(join(this.#path, '.identity'), temporary)
    if (error === undefined) return true
    if (systemErrorCode(error) === 'ENOENT') return false
    throw linkError(error, temporary)
  }
}

function epochName(epoch: number): string {
  return `${epoch}`.padStart(10, '0')
}

function isEpochName(name: string): boolean {
  return EPOCH_NAME.test(name) && Number(name) >= 1 && Number(name) <= EPOCH_MAX
}

function temporaryName(name: string): string {
  return `.${name}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`
}

/** Makes a folder, unless it is there. Never those above it: where they are missing, storage is not mounted. */
function makeFolder(folder: string): void {
  const error = attempt(() => mkdirSync(folder))
  if (error !== undefined && systemErrorCode(error) !== 'EEXIST') throw storageError(error, 'make', folder)
}

/** The names in a folder, or undefined if there is none. */
function listFolder(folder: string): readonly string[] | undefined {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw storageError(error, 'list', folder)
  }
}

/** Gives `temporary` its name and removes the temporary one. Returns what the system said, which decides nothing. */
function linkAndRemove(temporary: string, name: string): unknown {
  const error = attempt(() => linkSync(temporary, name))
  attempt(() => unlinkSync(temporary))
  return error
}

function linkAndUnlink(existing: string, name: string): unknown {
  const error = attempt(() => linkSync(existing, name))
  if (error === undefined) attempt(() => unlinkSync(name))
  return error
}

function attempt(work: () => void): unknown {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}

function linkError(error: unknown, name: string): unknown {
  const code = systemErrorCode(error)
  if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS') {
    return new UserError(
      `cannot link ${name}: this file system has no hard links, or denies them: use another`,
    )
  }
  if (error === undefined || code === 'EEXIST') {
    return new UserError(`${name} is there and cannot be seen: is this storage that keeps its word?`)
  }
  return storageError(error, 'link', name)
}

/** Removes what is much older than the new file at `path`, by the storage's own clock. It is no matter if that fails. */
function removeOlder(
  folder: string,
  path: string,
  { pattern, ageMs }: { readonly pattern: RegExp; readonly ageMs: number },
): void {
  attempt(() => {
    const now = statSync(path).mtimeMs
    for (const name of readdirSync(folder).filter((found) => pattern.test(found))) {
      attempt(() => {
        if (statSync(join(folder, name)).mtimeMs < now - ageMs) unlinkSync(join(folder, name))
      })
    }
  })
}
