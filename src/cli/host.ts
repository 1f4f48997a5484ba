/** `understudy host`: one host's process of a machine. */
import type { Command } from 'commander'
import { EXIT_CODE } from './exit_codes.ts'

const HELP = `
Reads how to run from the file that 'understudy run' has written, takes part in the machine's protocol as whatever it
can be (primary, backup, or a copy that joins), and says what happens on the standard output, a line each.

Exit codes:
  0      the machine was stopped in order
  ${EXIT_CODE.halted}    this process plays no part any more; the machine goes on, or waits for a process to be started again

Example:
  understudy host --config a.json`

export interface HostCommandOptions {
  readonly config: string
  readonly restart?: true
  readonly force?: true
}

export function define(command: Command): void {
  command
    .description("Runs one host's process of a protected machine.")
    .requiredOption('--config <FILE>', 'how to run')
    .option('--restart', 'start the machine again if it was stopped')
    .option('--force', 'start cold although the recorded backup may live: its data may be lost')
    .addHelpText('after', HELP)
    .action(async (options: HostCommandOptions) => {
      const { host } = await import('./host_session.ts')
      await host(options)
    })
}
