/** `understudy boot`: boots an image, on the terminal or for one command. */
import type { Command } from 'commander'
import { RAM_BYTES_MIN } from '../node/machine_limits.ts'
import { parseHarts, parseMemory } from './arguments.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { PROFILE_OPTION } from './profiling.ts'

const MEMORY_DEFAULT = '512M'
export const RAM_BYTES_DEFAULT = parseRam(MEMORY_DEFAULT)
export const HARTS_DEFAULT = 1

const HELP = `
The console is the terminal; Ctrl-] leaves and stops the machine. If the standard input is no terminal, the guest's
shell reads it; its end means nothing. With --run the guest runs CMD with /bin/sh -c and an empty input, its output
appears on the standard output, the machine powers off, and the exit status is the command's.
The guest is told the size of the terminal when it boots; after a change, 'stty rows R cols C' tells it.

Writes go to a disk of their own beside the image, which the next boot of the image finds again; --disk keeps them
elsewhere, --ephemeral drops them. A disk belongs to one machine at a time. The guest has no network yet.

A profile says how much of the time each part of the machine took, and which of the guest's code is hottest; a short
table of it appears on the standard error. It costs some percent of the speed.

A snapshot has the machine's RAM, harts and kernel parameters in it, so --load excludes the options for them.

Exit codes:
  0      the guest powered off, or was left with Ctrl-]
  0-255  with --run, the command's own status
  ${EXIT_CODE.usage}    the command line is wrong
  ${EXIT_CODE.file}    a file cannot be read or written, or is damaged
  ${EXIT_CODE.failure}    it cannot be done; the message says why
  ${EXIT_CODE.difference}    with --record, the guest's RAM has changed without having been written: faulty memory
  ${EXIT_CODE.interrupted}    stopped by SIGINT (Ctrl-C, with --run); ${EXIT_CODE.hangup} by SIGHUP, ${EXIT_CODE.terminated} by SIGTERM

Examples:
  understudy boot debian
  understudy boot debian --ephemeral --run 'uname -a'
  understudy boot debian --memory 1G --harts 2 --record session.rec
  understudy boot debian --ephemeral --profile profile.json --run 'openssl speed -seconds 5 sha256'
  understudy boot debian --save paused.snap       (writes the snapshot when you leave with Ctrl-])
  understudy boot debian --load paused.snap`

/** What the user asked for. */
export interface BootCommandOptions {
  readonly memory?: number
  readonly harts?: number
  readonly disk?: string
  readonly ephemeral?: true
  readonly append?: string
  readonly run?: string
  readonly record?: string
  readonly report?: string
  readonly profile?: string
  readonly save?: string
  readonly load?: string
  readonly build?: true
  readonly translate: boolean
}

export function define(command: Command): void {
  command
    .description('Boots a guest image.')
    .argument('[IMAGE]', 'the image, by its name', 'debian')
    .option('--memory <SIZE>', `RAM (default: ${MEMORY_DEFAULT})`, parseRam)
    .option('--harts <N>', `number of harts (default: ${HARTS_DEFAULT})`, parseHarts)
    .option('--disk <PATH>', 'keep what the guest writes there, in a directory of its own')
    .option('--ephemeral', 'drop what the guest writes')
    .option('--append <ARGS>', 'more kernel parameters')
    .option('--run <CMD>', 'run a command in the guest and end with its status')
    .option('--record <FILE>', 'record everything that happens to the machine, for `understudy replay`')
    .option('--report <FILE.json>', 'write there how the run ended, its speed and its digest')
    .option(...PROFILE_OPTION)
    .option('--save <FILE>', 'write a snapshot when the machine is left')
    .option('--load <FILE>', 'start from a snapshot')
    .option('--no-translate', 'interpret all code (changes nothing but speed)')
    .option('--build', 'build the image first if there is none of this name')
    .addHelpText('after', HELP)
    .action(async (image: string, options: BootCommandOptions) => {
      const { boot } = await import('./boot_session.ts')
      await boot(image, options)
    })
}

function parseRam(text: string): number {
  return parseMemory(text, RAM_BYTES_MIN)
}
