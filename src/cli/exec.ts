/** `understudy exec`: runs a bare-metal program. */
import type { Command } from 'commander'
import { BARE_RAM_BYTES_MIN } from '../node/machine_limits.ts'
import { parseCount, parseHarts, parseMemory } from './arguments.ts'
import { EXIT_CODE, processStatus } from './exit_codes.ts'
import { tell } from './failure.ts'
import { openProfiler, PROFILE_OPTION, writeProfile } from './profiling.ts'
import { LineBuffer } from './standard_streams.ts'

interface ExecOptions {
  readonly memory: number
  readonly harts: number
  readonly maxInstructions?: bigint
  readonly signature?: string
  readonly report?: string
  readonly profile?: string
  readonly translate: boolean
}

const MEMORY_DEFAULT = '128M'

const HELP = `
The program starts at its entry in M-mode, on every hart, with the hart's number in a0. RAM begins at 0x80000000. What
it prints, through HTIF or the UART at 0x10000000, goes to the standard output. It ends through HTIF (a store of
status * 2 + 1 to the symbol tohost) or the power device at 0x100000. While it waits for a timer, time jumps.

Exit codes:
  0-255  the program's own status (a larger one becomes 255)
  ${EXIT_CODE.usage}    the command line is wrong
  ${EXIT_CODE.file}    a file cannot be read or written, or is not an RV64 program
  ${EXIT_CODE.failure}    the program does not fit into RAM
  ${EXIT_CODE.limit}    it took --max-instructions without ending
  ${EXIT_CODE.idle}    it waits for an interrupt that cannot come
  ${EXIT_CODE.internal}    a mistake in Understudy
  ${EXIT_CODE.interrupted}    stopped by Ctrl-C
The report tells them apart where the program's own status is one of these.

Examples:
  understudy exec rv64ui-p-add
  understudy exec --max-instructions 10000000 --report report.json program.elf
  understudy exec --profile profile.json program.elf
  understudy exec --signature add.signature add-01.elf`

export function define(command: Command): void {
  command
    .description('Runs a bare-metal RV64 program, and ends with its status.')
    .argument('<FILE.elf>', 'the program, an ELF file')
    .option('--max-instructions <N>', 'stop after N instructions, taken by all harts together', parseCount)
    .addOption(
      command
        .createOption('--memory <SIZE>', 'RAM, as 64M or 1G')
        .argParser(parseRam)
        .default(parseRam(MEMORY_DEFAULT), MEMORY_DEFAULT),
    )
    .option('--harts <N>', 'number of harts', parseHarts, 1)
    .option('--signature <FILE>', 'write the memory from begin_signature to end_signature there')
    .option('--no-translate', 'interpret all code (changes nothing but speed)')
    .option('--report <FILE.json>', 'write there how the run ended, its speed and its digest')
    .option(...PROFILE_OPTION)
    .addHelpText('after', HELP)
    .action(exec)
}

function parseRam(text: string): number {
  return parseMemory(text, BARE_RAM_BYTES_MIN)
}

async function exec(path: string, options: ExecOptions): Promise<void> {
  const { runBareProgram } = await import('../node/bare_program.ts')
  const profiler = await openProfiler(options.profile, path, options.report, options.signature)
  const output = new LineBuffer()
  let isInterrupted = false
  process.once('SIGINT', () => {
    isInterrupted = true
  })
  const { end, exitStatus, position, pc } = await runBareProgram({
    path,
    ramBytes: options.memory,
    harts: options.harts,
    stepsMax: options.maxInstructions,
    signaturePath: options.signature,
    reportPath: options.report,
    translates: options.translate,
    profiler,
    print: (bytes) => output.write(bytes),
    isInterrupted: () => {
      output.flush()
      return isInterrupted
    },
  })
  output.flush()
  await writeProfile(options.profile, profiler)
  const where = `${path} at instruction ${position}, pc 0x${BigInt.asUintN(64, pc).toString(16)}`
  if (end === 'limit') tell(`stopped ${where}: it did not end within --max-instructions`)
  if (end === 'idle') tell(`stopped ${where}: it waits, no timer is armed, and there is no input`)
  if (end === 'interrupted') tell(`interrupted ${where}`)
  process.exitCode = end === 'exit' ? processStatus(exitStatus!) : EXIT_CODE[end]
}
