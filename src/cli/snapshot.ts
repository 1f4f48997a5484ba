/** `understudy snapshot`: saves a protected machine while it runs. */
import { resolve } from 'node:path'
import type { Command } from 'commander'

const HELP = `
The machine goes on, and stays protected; it stands still only while its memory is copied. The file and the disk beside
it (FILE.disk) are what 'understudy boot --load' starts from.

Examples:
  understudy snapshot db before-upgrade.snap
  understudy boot --load before-upgrade.snap`

export function define(command: Command): void {
  command
    .description('Saves a protected machine while it runs.')
    .argument('<NAME>', 'the machine')
    .argument('<FILE>', 'where to write the snapshot')
    .addHelpText('after', HELP)
    .action(async (name: string, file: string) => {
      const { openPair } = await import('./machines.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      const client = await (await PairControl.open(openPair(name))).connectToPrimary()
      try {
        const found = await client.request('snapshot', { path: resolve(file) }, { timeoutMs: Infinity })
        writeOutput(`${file}: ${name} at position ${(found as { position: string }).position}\n`)
      } finally {
        client.close()
      }
    })
}
