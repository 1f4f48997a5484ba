/** What `understudy boot` does: a session with the terminal or a command's output at its other end. */
import { mkdir } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { UserError } from '../base/errors.ts'
import { RunOutputStream, runParameter } from '../image/run.ts'
import { imageNames, openImage, type StoredImage } from '../image/store.ts'
import { checkOutputFile } from '../node/files.ts'
import { runReport, writeRunReport } from '../node/run_report.ts'
import { requireReplaceableSnapshot } from '../node/saved_files.ts'
import { InUseError, PORT, readHeader, Session, type SessionOptions } from '../node/session.ts'
import { type BootCommandOptions, HARTS_DEFAULT, RAM_BYTES_DEFAULT } from './boot.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError, tell } from './failure.ts'
import { startOverIfCold } from './fresh_process.ts'
import { defaultDisk, imageFiles, translationsDirectory } from './image_files.ts'
import { openProfiler, writeProfile } from './profiling.ts'
import { LineBuffer } from './standard_streams.ts'
import { StopSignals } from './stop_signals.ts'
import { openTerminal, type Terminal } from './terminal.ts'

/** How much of the serial console is kept, to be shown if a command's machine ends without its status. */
const SERIAL_TAIL_BYTES = 4096

/** With flow control by RTS and CTS (`r`), so that a guest that is slow to read loses nothing of what is sent to it. */
const CONSOLE = 'console=ttyS0,115200n8r'

/** How a boot ended. */
interface BootEnd {
  readonly end: 'exit' | 'interrupted'
  readonly exitStatus: number | undefined
}

export async function boot(name: string, options: BootCommandOptions): Promise<void> {
  await checkOptions(options)
  const image = await findOrBuild(name, options)
  startOverIfCold()
  const guest = options.run === undefined ? interactiveGuest() : commandGuest(options.run)
  const profiler = await openProfiler(options.profile)
  const signals = new StopSignals()
  const parameters = await sessionOptions(image, options, guest)
  const observed = profiler === undefined ? {} : { observer: profiler.observer }
  const session = await openSession({ ...parameters, ...observed }, options)
  const position = session.computer.position
  try {
    guest.start(session)
    signals.onStop(() => session.runner.stop())
    profiler?.start(session.computer.machine)
    const startRun = performance.now()
    const { reason } = await session.run()
    const wallSeconds = (performance.now() - startRun) / 1000
    profiler?.stop()
    guest.stop()
    const signalled = reason === 'stopped' ? signals.exitCode : undefined
    const end: BootEnd =
      signalled === undefined ? guest.end(reason) : { end: 'interrupted', exitStatus: undefined }
    if (options.save !== undefined) await save(session, options.save, reason)
    if (options.report !== undefined) {
      const { computer, runner } = session
      const measured = {
        ...end,
        ...{ wallSeconds, idleSeconds: runner.idleMs / 1000, position: computer.position },
        ...{ steps: computer.position - position, digest: computer.digest() },
      }
      await writeRunReport(options.report, runReport(measured))
    }
    // Last: whatever is wrong with it, nothing else is lost.
    await writeProfile(options.profile, profiler)
    process.exitCode = signalled ?? end.exitStatus ?? EXIT_CODE.success
  } finally {
    guest.stop()
    await session.close()
    signals.release()
  }
}

/** Refuses now what would go wrong only later, after hours of work. */
async function checkOptions(options: BootCommandOptions): Promise<void> {
  if (options.disk !== undefined && options.ephemeral === true) {
    throw new CommandError('--disk and --ephemeral exclude each other: leave one out', EXIT_CODE.usage)
  }
  requireDistinctFiles(options)
  if (options.load !== undefined) await checkLoad(options.load, options)
  for (const path of [options.record, options.report, options.profile, options.save])
    if (path !== undefined) checkOutputFile(path)
  if (options.save !== undefined) await requireReplaceableSnapshot(options.save)
}

/** A snapshot may take the place of the one that was loaded; any other two files would overwrite each other. */
function requireDistinctFiles({ record, report, profile, save, load }: BootCommandOptions): void {
  const isReplaced = load !== undefined && save !== undefined && resolve(load) === resolve(save)
  const paths = [record, report, profile, save, isReplaced ? undefined : load]
    .filter((path) => path !== undefined)
    .map((path) => resolve(path))
  const twice = paths.find((path, at) => paths.indexOf(path) < at && !path.startsWith('/dev/'))
  if (twice !== undefined)
    throw new CommandError(`${twice} is named twice: these options need a file each`, EXIT_CODE.usage)
}

/** A snapshot brings its machine with it. */
async function checkLoad(path: string, options: BootCommandOptions): Promise<void> {
  for (const option of ['memory', 'harts', 'append'] as const) {
    if (options[option] === undefined) continue
    throw new CommandError(`--${option} is in the snapshot: leave it out with --load`, EXIT_CODE.usage)
  }
  if (options.run === undefined) return
  const { bootArguments } = (await readHeader(path)).machine.specification
  if (bootArguments.split(' ').includes(runParameter(options.run))) return
  throw new CommandError(
    `snapshot ${path} was not saved while the guest ran this command: leave --run out`,
    EXIT_CODE.usage,
  )
}

async function findOrBuild(name: string, { build }: BootCommandOptions): Promise<StoredImage> {
  if (build === true && !imageNames().includes(name)) {
    tell(`building image ${name} (once; this takes a minute)`)
    const { buildWithProgress } = await import('./image.ts')
    return buildWithProgress({ name })
  }
  return openImage(name)
}

async function sessionOptions(
  image: StoredImage,
  options: BootCommandOptions,
  guest: Guest,
): Promise<SessionOptions> {
  const overlay = options.ephemeral === true ? undefined : (options.disk ?? defaultDisk(image))
  // A folder that the user named and that is not there is a slip of the keyboard.
  if (overlay !== undefined && options.disk === undefined) await mkdir(dirname(overlay), { recursive: true })
  const parameters = [CONSOLE, image.manifest.commandLine, ...guest.parameters, options.append ?? '']
  const optional = <K extends 'record' | 'load'>(key: K) =>
    options[key] === undefined ? {} : { [key]: options[key] }
  return {
    image: imageFiles(image),
    ...{ harts: options.harts ?? HARTS_DEFAULT, ramBytes: options.memory ?? RAM_BYTES_DEFAULT },
    bootArguments: parameters.filter((text) => text !== '').join(' '),
    ...(overlay === undefined ? {} : { overlay }),
    ...optional('record'),
    ...optional('load'),
    translation: options.translate ? 'hot' : 'off',
    translations: translationsDirectory(image),
    onOutput: ({ port, bytes }) => guest.output(port, bytes),
    onNotice: tell,
    ...(guest.restarted === undefined ? {} : { onRestart: () => guest.restarted?.() }),
  }
}

/** Opens a session; two that want the image's default disk are told what else there is. */
async function openSession(session: SessionOptions, { disk }: BootCommandOptions): Promise<Session> {
  try {
    return await Session.open(session)
  } catch (error) {
    if (!(error instanceof InUseError) || disk !== undefined) throw error
    throw new UserError(`${error.message} with --disk, or give --ephemeral`, { cause: error })
  }
}

async function save(session: Session, path: string, reason: 'power' | 'stopped'): Promise<void> {
  if (reason === 'power') tell(`the guest has powered off: there is nothing to save in ${path}`)
  else await session.save(path)
}

/** The other end of the guest's consoles. */
interface Guest {
  /** Kernel parameters. */
  readonly parameters: readonly string[]
  start(session: Session): void
  output(port: number, bytes: Uint8Array): void
  /** The guest has reset itself. */
  restarted?(): void
  /** Gives the terminal back; may be called twice. */
  stop(): void
  end(reason: 'power' | 'stopped'): BootEnd
}

/** The console on the terminal. */
function interactiveGuest(): Guest {
  const terminal: Terminal = openTerminal()
  const size =
    terminal.size === undefined ? [] : [`understudy.size=${terminal.size.columns}x${terminal.size.rows}`]
  return {
    parameters: ['earlycon=sbi', ...size],
    start: ({ runner }) => {
      if (terminal.isInteractive) tell('Ctrl-] leaves; the guest has no network yet')
      terminal.start(
        (bytes) => runner.type(bytes),
        () => runner.stop(),
      )
    },
    output: (port, bytes) => {
      if (port === PORT.uart) terminal.write(bytes)
    },
    stop: () => terminal.stop(),
    end: () => ({ end: 'exit', exitStatus: 0 }),
  }
}

/** One command, its output on the standard output. */
function commandGuest(command: string): Guest {
  const output = new LineBuffer()
  const stream = new RunOutputStream((bytes) => output.write(bytes))
  let serial = Buffer.alloc(0)
  let endRun = (): void => {}
  let hasFailed = false
  const fail = (): void => {
    hasFailed = true
    endRun()
  }
  return {
    // A kernel that panics resets at once, which ends the run; otherwise it would spin for ever. One that panics before
    // it has read its parameters, for lack of memory, spins all the same, but the early console shows it.
    parameters: ['quiet', 'earlycon=sbi', 'panic=-1', runParameter(command)],
    start: ({ runner }) => {
      endRun = () => runner.stop()
    },
    output: (port, bytes) => {
      if (port === PORT.console) {
        stream.push(bytes)
        output.flush()
      } else if (port === PORT.uart) {
        serial = Buffer.concat([serial, bytes]).subarray(-SERIAL_TAIL_BYTES)
        if (serial.includes('---[ end Kernel panic')) fail()
      }
    },
    restarted: fail,
    stop: () => {},
    end: (reason) => {
      const status = stream.finish()
      output.flush()
      if (reason === 'stopped' && !hasFailed) return { end: 'interrupted', exitStatus: undefined }
      if (status !== undefined) return { end: 'exit', exitStatus: status }
      const lines = serial.toString('latin1').trim().split(/\r?\n/)
      const last = lines.find((line) => line.includes('Kernel panic')) ?? lines.slice(-3).join(' | ')
      throw new CommandError(
        `the guest ${hasFailed ? 'failed' : 'ended'} before the command did; its console said: ${last}`,
        EXIT_CODE.failure,
      )
    },
  }
}
