/** `understudy console`: a protected machine's console, over failovers. */
import type { Command } from 'commander'

const HELP = `
Shows the serial console and types on it; Ctrl-] leaves, and the machine goes on. When the primary's host dies, the
console is that of the next primary, and nothing is shown twice.

Examples:
  understudy console
  understudy console db`

export function define(command: Command): void {
  command
    .description("Uses a protected machine's console.")
    .argument('[NAME]', 'the machine; may be left out if there is only one')
    .addHelpText('after', HELP)
    .action(async (name: string | undefined) => {
      const { useConsole } = await import('./console_session.ts')
      await useConsole(name)
    })
}
