/**
 * A lock between processes: a file that names its holder.
 *
 *     free ──link──> held ──release──> free
 *                     │ holder died: the next one claims its token, checks, removes the file
 *                     └────────────> free
 *
 * The file appears with its whole content (written aside, then `link`, which fails if the name is taken). A holder is
 * known by pid and start time, so that a number used again is no holder, within a boot of a host and a pid namespace;
 * only a holder that is certainly dead is cleared away, everything undecidable is refused. Each lock has a random
 * token. To clear a dead one a process first creates the claim file of its token and reads the lock again: while
 * the claim is held and the token is still there, nobody else can have replaced the lock.
 */
import { randomBytes } from 'node:crypto'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { canonicalJson } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'
import { temporaryName } from './atomic_file.ts'
import { fileError, systemErrorCode } from './file_error.ts'
import { isRunning, type ProcessIdentity, processIdentity } from './process_identity.ts'

interface Holder extends ProcessIdentity {
  readonly token: string
}

/** Somebody holds the lock, or may. */
export class InUseError extends UserError {
  override readonly name = 'InUseError'
}

/** A lock that this process holds until `release`. */
export class LockFile {
  readonly #path: string
  readonly #token: string

  private constructor(path: string, token: string) {
    this.#path = path
    this.#token = token
  }

  /** Takes the lock at `path`. `what` is what it protects, for the UserError that names the holder. */
  static async acquire(path: string, what: string): Promise<LockFile> {
    const self = { ...processIdentity(), token: randomBytes(12).toString('hex') }
    const aside = temporaryName(path)
    try {
      await writeNew(aside, canonicalJson({ ...self }))
      // Twice: once more after a dead holder was cleared away.
      for (let attempt = 0; attempt < 2; attempt++) {
        if (await linkNew(aside, path)) return new LockFile(path, self.token)
        const holder = await readHolder(path)
        if (holder !== undefined) await clear(path, holder, self, what)
      }
      throw new UserError(`${what} was taken by another process at the same moment: try again`)
    } catch (error) {
      throw fileError(error, 'lock', path)
    } finally {
      await unlink(aside).catch(() => undefined)
    }
  }

  /** Whether somebody holds the lock at `path`, or may. Changes nothing, so that it is in nobody's way. */
  static async isHeld(path: string): Promise<boolean> {
    const holder = await readHolder(path).catch((error: unknown) => {
      throw fileError(error, 'read', path)
    })
    return holder !== undefined && judge(holder, { ...processIdentity(), token: '' }, path) !== undefined
  }

  /** Gives the lock back. Does nothing if an operator has removed it. */
  async release(): Promise<void> {
    const holder = await readHolder(this.#path).catch(() => undefined)
    if (holder?.token === this.#token) await unlink(this.#path)
  }
}

/** Removes the lock of a dead holder; throws if the holder lives, or may. */
async function clear(path: string, holder: Holder, self: Holder, what: string): Promise<void> {
  const verdict = judge(holder, self, path)
  if (verdict !== undefined) throw new InUseError(`${what} is in use by ${verdict}`)
  const claim = `${path}.${holder.token}`
  try {
    await writeNew(claim, canonicalJson({ ...self }))
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error
    throw new UserError(
      `${what} is just being taken over by another process: try again, and if it stays so remove ${claim}`,
    )
  }
  try {
    if ((await readHolder(path))?.token === holder.token) await unlink(path)
  } finally {
    await unlink(claim)
  }
}

/** Undefined if the holder is certainly dead, else who it is and what to do. */
function judge(holder: Holder, self: Holder, path: string): string | undefined {
  const name = `process ${holder.pid}`
  if (holder.host !== self.host) {
    return `${name} on host ${holder.host}: stop it there, or remove ${path} if that host is gone`
  }
  if (holder.boot !== self.boot) return undefined
  if (holder.pidNamespace !== self.pidNamespace) {
    return `${name} in another container: stop it there, or remove ${path} if that container is gone`
  }
  if (!isRunning(holder)) return undefined
  return holder.pid === self.pid ? 'this process already' : `${name}: stop it first, or name another place`
}

async function writeNew(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(text)
    // Else a power cut may leave a name without content, of which nobody can say that its holder is dead.
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Gives a file a second name; false if that is taken. */
async function linkNew(existing: string, name: string): Promise<boolean> {
  try {
    await link(existing, name)
    return true
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false
    throw error
  }
}

async function readHolder(path: string): Promise<Holder | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const holder = JSON.parse(text) as Partial<Holder>
    const { host, boot, pidNamespace, pid, startTime, token } = holder
    const texts = [host, boot, pidNamespace, startTime, token]
    if (texts.every((field) => typeof field === 'string') && Number.isInteger(pid)) return holder as Holder
  } catch {
    // Falls through to the same answer as a file of another shape.
  }
  throw new UserError(`the lock ${path} is damaged: remove it if nothing uses what it protects`)
}
