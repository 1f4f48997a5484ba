/**
 * Child processes: how this layer calls the packaging and file system tools of the machine it runs on. Output is
 * captured, the locale is fixed so that messages can be recognised, and a missing tool is reported with the Debian
 * package that has it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { UserError } from '../base/errors.ts'

/** The programs that building an image needs, and the Debian package that each comes in. */
export const PACKAGE_OF: Readonly<Record<string, string>> = {
  'apt-get': 'apt',
  'apt-config': 'apt',
  'dpkg-deb': 'dpkg',
  xz: 'xz-utils',
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
}

export interface CommandOptions {
  readonly environment?: NodeJS.ProcessEnv
  /** What the command reads from its standard input; nothing by default. */
  readonly input?: string
  /** Called with each line that the command writes to its descriptor 3. */
  readonly onStatusLine?: (line: string) => void
}

export interface CommandResult {
  readonly status: number
  readonly stdout: Buffer
  readonly stderr: string
}

/** The programs that run. */
const running = new Set<ChildProcess>()

/** Asks every program that runs to end; whoever waits for one finds that it has failed. */
export function endCommands(): void {
  for (const child of running) child.kill()
}

/** Runs a program to its end. Throws a UserError only if it cannot be started. */
export function runCommand(
  program: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      env: commandEnvironment(options.environment ?? {}),
    })
    running.add(child)
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
    forEachLine(child.stdio[3] as NodeJS.ReadableStream, options.onStatusLine)
    // A program that ends without reading its input closes the pipe; its status tells the story.
    child.stdin?.on('error', () => {})
    child.stdin?.end(options.input ?? '')
    child.on('error', (error: NodeJS.ErrnoException) => reject(startError(program, error)))
    // Its own children have ended as well then, or have at least nothing left to say.
    child.on('close', (status) => {
      running.delete(child)
      resolve({
        status: status ?? 255,
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString(),
      })
    })
  })
}

/** Runs a program that must succeed. Throws a UserError with the last line of its complaint otherwise. */
export async function requireCommand(
  program: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<Buffer> {
  const result = await runCommand(program, parameters, options)
  if (result.status !== 0) throw commandError(program, result)
  return result.stdout
}

/** What a failed command says, as a UserError of one line. */
export function commandError(program: string, result: CommandResult): UserError {
  if (/No space left on device|enough free space/i.test(result.stderr)) return diskFullError()
  const lines = result.stderr.trim().split('\n')
  const complaint = lines.find((line) => line.startsWith('E: ')) ?? lines.at(-1) ?? ''
  return new UserError(`${program} failed with status ${result.status}: ${complaint.replace(/^E: /, '')}`)
}

export function diskFullError(): UserError {
  return new UserError('the disk is full: free some space where the images and the package cache are kept')
}

function commandEnvironment(changes: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  // mke2fs and debugfs live in /usr/sbin, which is not on the path of an ordinary user.
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`
  return { ...process.env, PATH: path, LC_ALL: 'C', LANGUAGE: 'C', ...changes }
}

function startError(program: string, error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ENOENT') return new UserError(`cannot run ${program}: ${error.message}`)
  const packageName = PACKAGE_OF[program] ?? program
  return new UserError(`${program} is not installed here: install the package ${packageName}`)
}

function forEachLine(stream: NodeJS.ReadableStream, onLine: ((line: string) => void) | undefined): void {
  let rest = ''
  stream.on('data', (chunk: Buffer) => {
    if (onLine === undefined) return
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line)
  })
}
