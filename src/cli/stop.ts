/** `understudy stop`: the end of a machine, in order. */
import type { Command } from 'commander'

const WAIT_MS = 30_000
const LOOK_MS = 100

const HELP = `
The machine stands still, what it has put out leaves, and its disks are those of that moment: as if its power had been
cut. To shut its system down first, run 'poweroff' in the guest instead, which stops the machine as well.

Examples:
  understudy stop
  understudy stop db`

export function define(command: Command): void {
  command
    .description('Stops a machine in order.')
    .argument('[NAME]', 'the machine; may be left out if there is only one')
    .addHelpText('after', HELP)
    .action(async (name: string | undefined) => {
      const { openPair } = await import('./machines.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { UserError } = await import('../base/errors.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      const { summary } = await import('./run_session.ts')
      const { isSupervised } = await import('../node/host/pair_processes.ts')
      const pair = openPair(name)
      const control = await PairControl.open(pair)
      const client = await control.connectToPrimary()
      await client.request('stop')
      client.close()
      for (const end = performance.now() + WAIT_MS; performance.now() < end; ) {
        const status = await control.status()
        // Until its supervisor is gone, the machine cannot be started again.
        if (status.protection === 'stopped' && !(await isSupervised(pair))) {
          return writeOutput(`${pair.name}: stopped\n`)
        }
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      }
      throw new UserError(`machine ${pair.name} has not stopped: ${summary(await control.status())}`)
    })
}
