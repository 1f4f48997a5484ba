/** `understudy schema`: the JSON Schema of a machine's file. */
import type { Command } from 'commander'

const HELP = `
Editors complete and check a file by it: docs/machine.schema.json is the same.

Examples:
  understudy schema
  understudy schema >machine.schema.json`

export function define(command: Command): void {
  command
    .description("Prints the JSON Schema of a machine's file (understudy run --file).")
    .addHelpText('after', HELP)
    .action(async () => {
      const { runFileJsonSchema } = await import('../node/host/run_file.ts')
      const { writeOutput } = await import('./standard_streams.ts')
      writeOutput(runFileJsonSchema())
    })
}
