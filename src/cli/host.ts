/** `understudy host`: a host's daemon, or one host's process of a machine. */
import type { Command } from 'commander'
import { DAEMON_PORT } from '../node/host/daemon_protocol.ts'
import { EXIT_CODE } from './exit_codes.ts'

const HELP = `
With --listen this computer becomes a host for machines of 'understudy run --hosts': a daemon that keeps its part of
each machine, runs a process for it, and starts that again when it ends. It says what happens on the standard output, a
line each, until SIGTERM or Ctrl-C, which end the processes too: the other hosts take over. What is to run runs again
with the next start. HOST is an address of this computer at which the other hosts reach it. Whoever has the secret may
run machines here; it is made at the first start, and the other hosts and the operator's computer need a copy.

With --config it is one machine's process: it reads how to run from the file that 'understudy run' or a daemon has
written, and takes part in the machine's protocol as whatever it can be (primary, backup, or a copy that joins).

Exit codes:
  0      the machine was stopped in order, or the daemon was told to end
  ${EXIT_CODE.usage}    the command line is wrong
  ${EXIT_CODE.failure}    the daemon cannot run; the message says why
  ${EXIT_CODE.halted}    this process plays no part any more; the machine goes on, or waits for a process to be started again

Examples:
  understudy host --listen 10.0.0.1
  understudy host --listen 127.0.0.1:${DAEMON_PORT} --name alpha
  understudy host --config a.json`

export interface HostCommandOptions {
  readonly config?: string
  readonly restart?: true
  readonly force?: true
  readonly listen?: string
  readonly name?: string
  readonly secret?: string
}

export function define(command: Command): void {
  command
    .description('Makes this computer a host for protected machines, or runs one process of one.')
    .option('--listen <HOST[:PORT]>', `be a daemon at this address (default port: ${DAEMON_PORT})`)
    .option('--name <NAME>', "the host's name, with --listen (default: the computer's)")
    .option(
      '--secret <FILE>',
      'what the hosts share, with --listen (default: host-secret in UNDERSTUDY_HOME)',
    )
    .option('--config <FILE>', 'run one process as this file says')
    .option('--restart', 'with --config: start the machine again if it was stopped')
    .option(
      '--force',
      'with --config: start cold although the recorded backup may live: its data may be lost',
    )
    .addHelpText('after', HELP)
    .action(async (options: HostCommandOptions) => {
      const { host } = await import('./host_session.ts')
      await host(options)
    })
}
