/** `understudy watch`: what happens to a protected machine. */
import type { Command } from 'commander'

const LOOK_MS = 200

const HELP = `
Prints a line whenever something changes, until Ctrl-C. With --json each line is the whole status.

Examples:
  understudy watch
  understudy watch db --json`

export function define(command: Command): void {
  command
    .description('Follows what happens to a protected machine.')
    .argument('[NAME]', 'the machine; may be left out if there is only one')
    .option('--json', 'print JSON, a line each')
    .addHelpText('after', HELP)
    .action(async (name: string | undefined, { json }: { readonly json?: true }) => {
      const { logLine, openPair } = await import('./machines.ts')
      const { PairControl } = await import('../node/host/pair_control.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      const { summary } = await import('./run_session.ts')
      const control = await PairControl.open(openPair(name))
      for (let shown = ''; ; await new Promise((resolve) => setTimeout(resolve, LOOK_MS))) {
        const status = await control.status()
        const line = summary(status)
        if (line === shown) continue
        shown = line
        writeOutput(json === true ? `${JSON.stringify(status)}\n` : logLine(line))
      }
    })
}
