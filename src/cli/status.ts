/** `understudy status`: how a protected machine is. */
import type { Command } from 'commander'

const HELP = `
Examples:
  understudy status
  understudy status db --json`

export function define(command: Command): void {
  command
    .description('Says how a protected machine is.')
    .argument('[NAME]', 'the machine; may be left out if there is only one')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (name: string | undefined, { json }: { readonly json?: true }) => {
      const { openPair } = await import('./machines.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { printJson, writeOutput } = await import('./standard_streams.ts')
      const status = await (await PairControl.open(openPair(name))).status()
      if (json === true) return printJson(status)
      const { table } = await import('./status_table.ts')
      writeOutput(table(status))
    })
}
