/** `understudy ls`: the protected machines of this computer. */
import type { Command } from 'commander'

const HELP = `
Examples:
  understudy ls
  understudy ls --json`

export function define(command: Command): void {
  command
    .description('Lists protected machines.')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async ({ json }: { readonly json?: true }) => {
      const { machinesDirectory } = await import('./machines.ts')
      const { Pair } = await import('../node/host/pair.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { printJson, writeOutput } = await import('./standard_streams.ts')
      const { summary } = await import('./run_session.ts')
      const root = machinesDirectory()
      const statuses = await Promise.all(
        Pair.names(root).map(async (name) => (await PairControl.open(Pair.open(root, name))).status()),
      )
      if (json === true) return printJson(statuses)
      const width = Math.max(0, ...statuses.map(({ name }) => name.length)) + 2
      for (const status of statuses) writeOutput(`${status.name.padEnd(width)}${summary(status)}\n`)
    })
}
