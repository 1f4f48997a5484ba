/** What `understudy run` and `understudy supervise` do. */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { UserError } from '../base/errors.ts'
import { imageNames, openImage, type StoredImage } from '../image/store.ts'
import { Pair } from '../node/host/pair.ts'
import { PairControl, type PairStatus, reasonText } from '../node/host/pair_control.ts'
import { pairDifference } from '../node/host/pair_difference.ts'
import { placePair } from '../node/host/pair_placement.ts'
import { PairRun } from '../node/host/pair_run.ts'
import { readHeader } from '../node/session.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError, tell } from './failure.ts'
import { imageFiles } from './image_files.ts'
import { logLine, machinesDirectory, openPair, programStart } from './machines.ts'
import { RAM_BYTES_DEFAULT, type RunCommandOptions } from './run.ts'
import { placementOf } from './run_placement.ts'
import { type RunRequest, runRequest } from './run_request.ts'
import { writeOutput } from './standard_streams.ts'
import { StopSignals } from './stop_signals.ts'

const LOOK_MS = 200
/** A machine that is not there by then has a problem that its logs tell. */
const START_MS_MAX = 60_000

export async function run(image: string | undefined, options: RunCommandOptions): Promise<void> {
  const request = runRequest(image, options)
  const pair = await findOrCreate(request)
  if (request.detach) await runDetached(pair)
  else await runAttached(pair, true)
}

/** Runs the processes of a machine until it is stopped in order, or this process is told to stop it. */
export async function superviseUntilStopped(name: string): Promise<void> {
  await runAttached(openPair(name), false)
}

async function findOrCreate(request: RunRequest): Promise<Pair> {
  const { name, wanted } = request
  if (Pair.exists(machinesDirectory(), name)) {
    const pair = openPair(name)
    const difference = pairDifference(pair, wanted)
    if (difference === undefined) return pair
    throw new CommandError(
      `machine ${name} exists and was made with other ${difference}: leave that out, or give another --name`,
      EXIT_CODE.usage,
    )
  }
  if (wanted.hosts !== undefined) return placePair(machinesDirectory(), placementOf(request, wanted.hosts))
  for (const [key, option] of Object.entries({ gatewayListen: 'gateway-listen', secretFile: 'secret' }))
    if (key in request || key in wanted)
      throw new CommandError(`--${option} is for machines with --hosts`, EXIT_CODE.usage)
  const image = await findOrBuild(await withImageOf(request))
  const { forwards = [], network, arbiter, append = '', settings = {} } = wanted
  return Pair.create(machinesDirectory(), {
    ...{ name, image: imageFiles(image), forwards, settings },
    commandLine: [image.manifest.commandLine, append].filter((text) => text !== '').join(' '),
    ...{ ramBytes: wanted.ramBytes ?? RAM_BYTES_DEFAULT, harts: wanted.harts ?? 1 },
    ...(network === undefined || network.kind === 'gateway' ? {} : { network }),
    ...(arbiter === undefined ? {} : { arbiter }),
    ...{ allowLoopback: wanted.allowLoopback === true, allowFaults: wanted.allowFaults === true },
    ...(wanted.firstSnapshot === undefined ? {} : { firstSnapshot: wanted.firstSnapshot }),
    ...{ isRecorded: wanted.isRecorded === true, translates: wanted.translates !== false },
  })
}

/** A snapshot says of which image its machine is, unless the user does. */
async function withImageOf(request: RunRequest): Promise<RunRequest> {
  const { firstSnapshot, image } = request.wanted
  if (firstSnapshot === undefined || image !== undefined) return request
  return { ...request, image: (await readHeader(firstSnapshot)).machine.image }
}

async function findOrBuild({ image: name, build }: RunRequest): Promise<StoredImage> {
  if (build && !imageNames().includes(name)) {
    tell(`building image ${name} (once; this takes a minute)`)
    const { buildWithProgress } = await import('./image.ts')
    return buildWithProgress({ name })
  }
  return openImage(name)
}

async function runAttached(pair: Pair, isForeground: boolean): Promise<void> {
  const say = (text: string): void => writeOutput(isForeground ? `${text}\n` : logLine(text))
  const signals = new StopSignals()
  const run = await PairRun.start(pair, programStart(), {
    onAdopted: (name, pid) => say(`process ${name} runs already (pid ${pid}): it is watched over`),
    onEnded: (name, how, isDone) => {
      if (!isDone) say(`process ${name} has ended (${how}): it is started again`)
    },
    onNotice: say,
  })
  const stopped = new Promise<void>((resolve) => signals.onStop(resolve))
  if (isForeground) say(`machine ${pair.name}; Ctrl-C stops it in order; logs are in ${pair.directory}`)
  await showUntilOver(run, stopped, say)
  // Who switches off the computer from which a machine was started does not mean the hosts that run it.
  const goesOn = !run.isOver && !isForeground && run.isElsewhere
  if (goesOn) await run.leave()
  else if (run.isOver) await run.end()
  else await run.stop()
  signals.release()
  say(goesOn ? `machine ${pair.name} goes on at its hosts` : `machine ${pair.name} is stopped`)
  process.exitCode = EXIT_CODE.success
}

/** Says whatever changes, until the machine is over or somebody stops it. */
async function showUntilOver(
  run: PairRun,
  stopped: Promise<void>,
  say: (text: string) => void,
): Promise<void> {
  let isStopping = false
  let shown = ''
  const stop = stopped.then(() => {
    isStopping = true
  })
  while (!run.isOver && !isStopping) {
    const line = summary(await run.control.status())
    if (line !== shown) say(line)
    shown = line
    await Promise.race([stop, new Promise((resolve) => setTimeout(resolve, LOOK_MS))])
  }
}

/** A pair's state in a line. */
export function summary(status: PairStatus): string {
  const { protection, epoch, primary, backup, forwards } = status
  const reason = reasonText(status)
  const state = reason === null ? protection : `${protection} (${reason})`
  if (primary === null) return state
  const copies = `primary ${primary.host} (pid ${primary.pid})${backup === null ? '' : `, backup ${backup.host} (pid ${backup.pid})`}`
  const ports = forwards.length === 0 ? '' : `, ports ${forwards.join(' ')}`
  return `${state}: ${copies}, epoch ${epoch}${ports}`
}

async function runDetached(pair: Pair): Promise<void> {
  const { command, parameters } = programStart()
  const log = openSync(pair.logPath('supervisor'), 'a', 0o600)
  const child = spawn(command, [...parameters, 'supervise', pair.name], {
    ...{ detached: true, stdio: ['ignore', log, log] },
  })
  closeSync(log)
  let ended: string | undefined
  child.once('exit', (code, signal) => {
    ended = `${signal ?? `status ${code}`}`
  })
  const control = await PairControl.open(pair)
  for (const end = performance.now() + START_MS_MAX; performance.now() < end; ) {
    if (ended !== undefined) break
    const status = await control.status()
    if (status.primary !== null) {
      child.unref()
      writeOutput(`${pair.name}: ${summary(status)}\n`)
      return
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
  child.unref()
  const how = ended === undefined ? 'has no primary so far' : `did not start (${ended})`
  throw new UserError(`machine ${pair.name} ${how}: see the logs in ${pair.directory}`)
}
