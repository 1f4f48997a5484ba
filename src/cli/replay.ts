/** `understudy replay`: executes a recording again and compares. */
import type { Command } from 'commander'
import { parseCount } from './arguments.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { tell } from './failure.ts'
import { startOverIfCold } from './fresh_process.ts'
import { openProfiler, PROFILE_OPTION, writeProfile } from './profiling.ts'
import { writeOutput } from './standard_streams.ts'

interface ReplayCommandOptions {
  readonly to?: bigint
  readonly from?: string
  readonly slice?: bigint
  readonly report?: string
  readonly profile?: string
  readonly translate: boolean
}

const HELP = `
The machine goes through its recorded history again, without any outside world, on a private copy of its disk. Every
output and every digest in the recording is compared; the first difference ends the replay. Where a digest differs, the
register or device field and the page of RAM that do are named with the help of FILE.witness, which is written beside
the recording.

Exit codes:
  0    everything was as recorded
  ${EXIT_CODE.usage}  the command line is wrong
  ${EXIT_CODE.file}  the recording, its image or its snapshot cannot be read, or is damaged
  ${EXIT_CODE.failure}  the image is another one than the recording was made with
  ${EXIT_CODE.difference}  something was not as recorded; the message says what and where

Examples:
  understudy replay session.rec
  understudy replay session.rec --to 1000000000 --report at.json
  understudy replay session.rec --from paused.snap
  understudy replay session.rec --profile profile.json`

export function define(command: Command): void {
  command
    .description('Executes a recording again, and compares it with what was recorded.')
    .argument('<FILE>', 'a recording made by `understudy boot --record`')
    .option('--to <POSITION>', 'stop at this position', parseCount)
    .option('--from <SNAPSHOT>', 'begin at a snapshot that was taken while the recording was made')
    .option('--slice <STEPS>', 'execute in pieces of this many steps (changes nothing but speed)', parseCount)
    .option('--no-translate', 'interpret all code (changes nothing but speed)')
    .option('--report <FILE.json>', 'write there where the replay ended and its digest')
    .option(...PROFILE_OPTION)
    .addHelpText('after', HELP)
    .action(replayCommand)
}

async function replayCommand(path: string, options: ReplayCommandOptions): Promise<void> {
  const { replay } = await import('../node/replay.ts')
  const { describeDivergence, digestText, replayReport } = await import('../node/replay_report.ts')
  const { findImageFiles } = await import('./image_files.ts')
  const { checkOutputFile, writeOutputFile } = await import('../node/files.ts')
  startOverIfCold()
  if (options.report !== undefined) checkOutputFile(options.report)
  const profiler = await openProfiler(options.profile, path, options.report)
  const result = await replay({
    ...{ path, findImage: findImageFiles, onNotice: tell },
    ...(options.to === undefined ? {} : { to: options.to }),
    ...(options.from === undefined ? {} : { from: options.from }),
    ...(options.slice === undefined ? {} : { sliceSteps: options.slice }),
    translation: options.translate ? 'hot' : 'off',
    profiler,
  })
  if (options.report !== undefined) {
    await writeOutputFile(options.report, `${JSON.stringify(replayReport(result), undefined, 2)}\n`)
  }
  await writeProfile(options.profile, profiler)
  const { position, divergence, counts, isComplete } = result
  if (divergence !== undefined) {
    tell(`${path} ${describeDivergence(divergence, result.explanation)}`)
    process.exitCode = EXIT_CODE.difference
    return
  }
  if (!isComplete)
    tell(`${path} has no end mark: its writer was stopped; it was replayed up to its last batch`)
  else if (options.to !== undefined && position < options.to)
    tell(`${path} ends at position ${position}, before ${options.to}`)
  const { records, outputs, digests } = counts
  writeOutput(
    `equal up to position ${position}: ${records} records, ${outputs} outputs and ${digests} digests compared, digest ${digestText(result.digest)}\n`,
  )
}
