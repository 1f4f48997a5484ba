/** What `understudy demo` does. */
import { AppendLoad, type Verification } from '../node/demo/append_load.ts'
import { DemoRun, pause } from '../node/demo/demo_run.ts'
import { PairRun } from '../node/host/pair_run.ts'
import type { DemoOptions } from './demo.ts'
import { demoMachine } from './demo_machine.ts'
import { DemoScreen, rateText } from './demo_screen.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError, tell } from './failure.ts'
import { logLine, programStart } from './machines.ts'
import { writeOutput } from './standard_streams.ts'
import { StopSignals } from './stop_signals.ts'

const KEY = 'understudy-demo'
/** Some twenty appends a second. */
const INTERVAL_MS = 50
const REPORT_MS = 5000
const EVENTS_KEPT = 50
const CTRL_C = 3

/** Shows a demo to somebody. */
interface Face {
  onEvent(text: string): void
  onLooked(demo: DemoRun): void
  /** Says what comes at the end. */
  onFarewell(text: string): void
  close(): void
}

export async function demo(options: DemoOptions): Promise<void> {
  const { pair, port, saveTo } = await demoMachine(options)
  const ending = new AbortController()
  const signals = new StopSignals()
  signals.onStop(() => ending.abort())
  const isInteractive = options.rounds === undefined && process.stdin.isTTY && process.stdout.isTTY
  if (isInteractive) writeOutput(`machine ${pair.name} is in ${pair.directory}\n\n`)
  else writeOutput(logLine(`machine ${pair.name} starts; redis-cli -p ${port}; it is in ${pair.directory}`))
  const run = await PairRun.start(pair, programStart(), {
    onEnded: (name, how, isDone) => {
      if (!isDone && !ending.signal.aborted)
        face.onEvent(`process ${name} has ended (${how}): it is started again`)
    },
  })
  const load = new AppendLoad({ host: '127.0.0.1', port, key: KEY, intervalMs: INTERVAL_MS })
  const events = {
    onEvent: (text: string): void => face.onEvent(text),
    onLooked: (): void => face.onLooked(shown),
  }
  const shown: DemoRun = new DemoRun(run, load, events, ending.signal)
  const face: Face = isInteractive ? screenFace(shown, port, () => ending.abort()) : lineFace()
  let verification: Verification | undefined
  try {
    verification = await perform(shown, { ...options, saveTo }, ending, face)
  } finally {
    face.onFarewell('stopping the machine in order')
    await (run.isOver ? run.end() : run.stop())
    face.close()
    signals.release()
  }
  conclude(verification, options, shown, signals.exitCode)
}

/** Runs until somebody ends it, or until all rounds are over; then reads back what was written. */
async function perform(
  shown: DemoRun,
  { rounds, killAfter, saveTo }: DemoOptions & { readonly saveTo: string | undefined },
  ending: AbortController,
  face: Face,
): Promise<Verification> {
  const watching = shown.watch()
  shown.load.start()
  const saving = saveTo === undefined ? Promise.resolve() : shown.save(saveTo)
  try {
    if (rounds === undefined) await watching
    else {
      await shown.until(() => shown.isReady, 'protected and serving')
      // A primary that is killed saves nothing.
      await saving
      await shown.killRounds(rounds, killAfter * 1000)
      // What was written since the last kill counts as well.
      await pause(killAfter * 1000, ending.signal)
    }
    face.onFarewell('reading the list back')
    await shown.load.stop()
    if (shown.isOver)
      throw new CommandError('the machine has ended: nothing can be read back', EXIT_CODE.failure)
    return await shown.load.verify()
  } finally {
    ending.abort()
    await Promise.all([watching, saving, shown.load.stop()])
  }
}

function conclude(
  { acknowledged, found, lost, wrong, faults }: Verification,
  { rounds }: DemoOptions,
  { kills, load }: DemoRun,
  signalled: number | undefined,
): void {
  const { errors, longestPauseMs } = load.counts()
  writeOutput(
    `${acknowledged} writes acknowledged, ${lost} lost, ${wrong} wrong (${found} read back); ` +
      `${errors} errors, ${kills} ${kills === 1 ? 'kill' : 'kills'}, longest pause ${Math.round(longestPauseMs)} ms\n`,
  )
  for (const fault of faults) tell(fault)
  if (lost + wrong > 0) process.exitCode = EXIT_CODE.difference
  else if (rounds !== undefined && kills < rounds) process.exitCode = signalled ?? EXIT_CODE.failure
  else process.exitCode = EXIT_CODE.success
}

/** Lines, for files and for other programs. */
function lineFace(): Face {
  let reportedMs = performance.now()
  return {
    onEvent: (text) => writeOutput(logLine(text)),
    onLooked: ({ status, load }) => {
      if (performance.now() - reportedMs < REPORT_MS) return
      reportedMs = performance.now()
      const { isServing, acknowledged, errors, longestPauseMs } = load.counts()
      const rate = status?.logBytesPerSecond == null ? '-' : rateText(status.logBytesPerSecond)
      const state = status?.reason == null ? status?.protection : `${status.protection}: ${status.reason}`
      const writes = isServing ? `${acknowledged} writes acknowledged, ${errors} errors` : 'Debian boots'
      writeOutput(logLine(`${state}; ${writes}, longest pause ${Math.round(longestPauseMs)} ms, log ${rate}`))
    },
    onFarewell: (text) => writeOutput(logLine(text)),
    close: () => {},
  }
}

/** A picture, and keys. */
function screenFace(shown: DemoRun, port: number, onEnd: () => void): Face {
  const screen = new DemoScreen(process.stdout, process.env['NO_COLOR'] === undefined)
  const events: string[] = []
  let farewell: string | undefined
  const draw = (): void => {
    const { status, kills, load } = shown
    const counts = load.counts()
    screen.draw({
      port,
      key: KEY,
      status,
      counts,
      kills,
      events,
      ...(farewell === undefined ? {} : { farewell }),
    })
  }
  const onEvent = (text: string): void => {
    events.push(`${new Date().toTimeString().slice(0, 8)}  ${text}`)
    if (events.length > EVENTS_KEPT) events.shift()
    draw()
  }
  const onKeys = (bytes: Uint8Array): void => {
    for (const byte of bytes) {
      const key = String.fromCharCode(byte)
      if (farewell !== undefined) return byte === CTRL_C ? process.exit(EXIT_CODE.interrupted) : undefined
      if (key === 'q' || byte === CTRL_C) onEnd()
      else if (key === 'f') void shown.handOver()
      else if (key === 'k' && !shown.killPrimary()) onEvent('there is no primary to kill at the moment')
    }
  }
  const { stdin } = process
  stdin.setRawMode(true)
  stdin.on('data', onKeys)
  // A terminal that is gone says so here, beside SIGHUP.
  stdin.on('error', onEnd)
  draw()
  return {
    onEvent,
    onLooked: draw,
    onFarewell: (text) => {
      farewell = text
      draw()
    },
    close: () => {
      stdin.off('data', onKeys)
      stdin.setRawMode(false)
      stdin.pause()
    },
  }
}
