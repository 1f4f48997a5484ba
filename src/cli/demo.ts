/** `understudy demo`: what a protected machine is, in a minute. */
import { type Command, InvalidArgumentError } from 'commander'
import { EXIT_CODE } from './exit_codes.ts'

const HELP = `
Builds a Debian image with Redis (once), runs it as a protected machine, and appends numbers to a list in it, one after
another. On a terminal it shows how the machine is: 'k' kills the primary's process with SIGKILL, 'f' hands over in
order, 'q' or Ctrl-C reads the list back, says whether anything acknowledged is missing, and stops the machine in order.

Without a terminal, or with --rounds, it prints lines. With --rounds it kills the primary so many times by itself, each
time after the machine has been protected for a while, and then ends.

The first demo boots Debian, and saves the machine as soon as Redis answers; later ones begin there, in a second or two,
with nothing of the demo before. To remove it all, remove the machine's directory: 'understudy demo' names it.

Exit codes:
  0      nothing that was acknowledged was lost
  ${EXIT_CODE.usage}    the command line is wrong
  ${EXIT_CODE.failure}    it cannot be done; the message says why
  ${EXIT_CODE.difference}    something that was acknowledged is missing, or is there twice

Examples:
  understudy demo
  understudy demo --rounds 3 --kill-after 5
  understudy demo --image data --name demo-of-data`

export interface DemoOptions {
  readonly name: string
  readonly image?: string
  readonly port?: number
  readonly rounds?: number
  readonly killAfter: number
}

const SECONDS_MAX = 86_400

export function define(command: Command): void {
  command
    .description('Runs Redis on a protected machine, kills its primary, and counts what is lost.')
    .option('--name <NAME>', "the machine's name", 'demo')
    .option('--image <NAME>', 'an image with redis-server (default: demo, which is built if it is missing)')
    .option('--port <PORT>', 'where Redis is reached (default: 6379, or the next that is free)', parsePort)
    .option('--rounds <N>', 'kill the primary so many times, then end', parseRounds)
    .option('--kill-after <SECONDS>', 'how long to wait before each kill', parseSeconds, 5)
    .addHelpText('after', HELP)
    .action(async (options: DemoOptions) => {
      const { demo } = await import('./demo_session.ts')
      await demo(options)
    })
}

function parsePort(text: string): number {
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port
  throw new InvalidArgumentError('Expected a port from 1 to 65535.')
}

function parseRounds(text: string): number {
  if (/^\d{1,4}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected 0 to 9999 rounds.')
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (/^\d{1,5}(?:\.\d{1,3})?$/.test(text) && seconds <= SECONDS_MAX) return seconds
  throw new InvalidArgumentError(`Expected seconds, at most ${SECONDS_MAX}.`)
}
