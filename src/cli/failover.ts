/** `understudy failover`: an orderly hand-over. */
import type { Command } from 'commander'

/** A hand-over waits until the backup has executed everything. */
const WAIT_MS = 30_000
const LOOK_MS = 50

const HELP = `
The primary stops where it is, the backup executes to the same place and goes on; a new backup is made then.

Examples:
  understudy failover
  understudy failover db`

export function define(command: Command): void {
  command
    .description('Hands a machine over to its backup, in order.')
    .argument('[NAME]', 'the machine; may be left out if there is only one')
    .addHelpText('after', HELP)
    .action(async (name: string | undefined) => {
      const { openPair } = await import('./machines.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { UserError } = await import('../base/errors.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      const { summary } = await import('./run_session.ts')
      const pair = openPair(name)
      const control = await PairControl.open(pair)
      const before = await control.status()
      if (before.protection !== 'protected')
        throw new UserError(`machine ${pair.name} has no backup to hand over to: ${summary(before)}`)
      const client = await control.connectToPrimary()
      await client.request('failover')
      client.close()
      for (const end = performance.now() + WAIT_MS; performance.now() < end; ) {
        const status = await control.status()
        if (status.primary !== null && status.primary.pid !== before.primary?.pid)
          return writeOutput(`${pair.name}: ${summary(status)}\n`)
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      }
      throw new UserError(`machine ${pair.name} has not been handed over: ${summary(await control.status())}`)
    })
}
