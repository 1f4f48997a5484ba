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
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { canonicalJson } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'
import { temporaryName } from './atomic_file.ts'
import { fileError, systemErrorCode } from './file_error.ts'

interface Holder {
  readonly host: string
  /** Changes when the host is restarted; empty where it is not known. */
  readonly boot: string
  /** Within which `pid` means something; containers have their own. */
  readonly pidNamespace: string
  readonly pid: number
  readonly startTime: string
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
    const self = currentProcess()
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

  /**
   * Who holds the lock at `path`: undefined if nobody does, or whoever did is certainly dead. The pid is there only if
   * it means something here.
   */
  static async holder(path: string): Promise<{ readonly pid: number | undefined } | undefined> {
    const holder = await readHolder(path)
    const self = currentProcess()
    if (holder === undefined || judge(holder, self, path) === undefined) return undefined
    const isHere = (['host', 'boot', 'pidNamespace'] as const).every((key) => holder[key] === self[key])
    return { pid: isHere ? holder.pid : undefined }
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
  if (!isAlive(holder.pid) || startTimeOf(holder.pid) !== holder.startTime) return undefined
  if (isZombie(holder.pid)) return undefined
  return holder.pid === self.pid ? 'this process already' : `${name}: stop it first, or name another place`
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemErrorCode(error) === 'EPERM'
  }
}

function currentProcess(): Holder {
  return {
    host: hostname(),
    boot: textOr(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    pidNamespace: textOr(() => readlinkSync('/proc/self/ns/pid')),
    pid: process.pid,
    startTime: startTimeOf(process.pid),
    token: randomBytes(12).toString('hex'),
  }
}

/** Clock ticks from boot to the process's start (proc(5), field 22 of stat); empty where there is no /proc. */
function startTimeOf(pid: number): string {
  return textOr(() => statOf(pid)[19] ?? '')
}

/**
 * Whether a process has ended and nobody has asked for its status, as in a container whose first process does not ask.
 * Until its last thread is gone, one of them may be in the middle of a write.
 */
function isZombie(pid: number): boolean {
  const state = textOr(() => statOf(pid)[0] ?? '')
  return (
    (state === 'Z' || state === 'X') && textOr(() => `${readdirSync(`/proc/${pid}/task`).length}`) === '1'
  )
}

/** The fields of proc(5)'s stat from the third on, which is the state. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field, the program's name in parentheses, may hold spaces and parentheses itself.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** What `read` finds, or nothing on systems that do not have it. */
function textOr(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
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
