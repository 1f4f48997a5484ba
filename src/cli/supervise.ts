/** `understudy supervise`: what `understudy run --detach` leaves running. */
import type { Command } from 'commander'

const HELP = `
Starts the processes of a machine that 'understudy run' has made, and starts those again that end, until the machine is
stopped in order. SIGTERM stops it, unless its hosts are other computers: then it ends the gateway alone.

Example:
  understudy supervise debian`

export function define(command: Command): void {
  command
    .description('Keeps the processes of a protected machine running.')
    .argument('<NAME>', 'the machine')
    .addHelpText('after', HELP)
    .action(async (name: string) => {
      const { superviseUntilStopped } = await import('./run_session.ts')
      await superviseUntilStopped(name)
    })
}
