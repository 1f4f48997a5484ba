/** `understudy force`: a cold start on the operator's word. */
import type { Command } from 'commander'
import { EXIT_CODE } from './exit_codes.ts'

const WAIT_MS = 30_000
const LOOK_MS = 100

const HELP = `
After both copies were lost, the host that had the primary starts the machine from its disk, but only when the host
that had the backup says that its copy is dead: a copy that lives has more. If that host does not come back, the
machine waits. This command is your word that no other copy lives. Given to the host that had the primary, nothing
that the guest had flushed to its disk is lost. Given to the one that had the backup, the latest of it may be.

Exit codes:
  0      the machine has a primary again
  ${EXIT_CODE.failure}    it does not wait for this, or has not started; the message says why

Examples:
  understudy status db
  understudy force db --host a`

export function define(command: Command): void {
  command
    .description('Starts a machine cold at a host, although the other may have a copy.')
    .argument('<NAME>', 'the machine')
    .requiredOption('--host <HOST>', 'where to start it: a, b, or the name of a daemon')
    .addHelpText('after', HELP)
    .action(async (name: string, { host }: { readonly host: string }) => {
      const { openPair } = await import('./machines.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { UserError } = await import('../base/errors.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      const { summary } = await import('./run_session.ts')
      const pair = openPair(name)
      if (pair.file.hosts[host] === undefined)
        throw new UserError(
          `machine ${name} has no host ${host}: there are ${Object.keys(pair.file.hosts).join(', ')}`,
        )
      const control = await PairControl.open(pair)
      const before = await control.status()
      if (before.primary !== null) throw new UserError(`machine ${name} runs: ${summary(before)}`)
      if ((await control.ask(host, 'force')) === undefined)
        throw new UserError(`no process answers at host ${host}: see ${pair.logPlace(host)}`)
      for (const end = performance.now() + WAIT_MS; performance.now() < end; ) {
        const status = await control.status()
        if (status.primary !== null) return writeOutput(`${name}: ${summary(status)}\n`)
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      }
      throw new UserError(
        `machine ${name} has not started: ${summary(await control.status())}; see ${pair.logPlace(host)}`,
      )
    })
}
