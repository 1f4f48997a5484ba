/** `understudy gateway`: the process between a machine's clients and its hosts. */
import type { Command } from 'commander'

const HELP = `
Holds the clients' connections while the machine moves from one host to another. Runs until it is told to end.

Example:
  understudy gateway --config gateway.json`

export function define(command: Command): void {
  command
    .description("Runs a machine's gateway.")
    .requiredOption('--config <FILE>', 'how to run')
    .addHelpText('after', HELP)
    .action(async ({ config: path }: { readonly config: string }) => {
      const { gatewayConfigSchema } = await import('../node/host/pair.ts')
      const { startGateway } = await import('../node/host/gateway_process.ts')
      const { readStoredJson } = await import('../node/host/stored_json.ts')
      const { logLine } = await import('./machines.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      const config = readStoredJson(path, gatewayConfigSchema)
      await startGateway(config, (text) => writeOutput(logLine(text)))
      writeOutput(logLine(`gateway of machine ${config.machine}, process ${process.pid}`))
    })
}
