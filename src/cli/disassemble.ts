/** `understudy disassemble`: lists a program's instructions. */
import type { Command } from 'commander'
import { writeOutput } from './standard_streams.ts'

const HELP = `
Each line has the address, the instruction word and the instruction; targets of branches have their symbol.

Examples:
  understudy disassemble program.elf
  understudy disassemble program.elf | less`

/** Lines written at once. */
const LINES_MAX = 1000

export function define(command: Command): void {
  command
    .description("Lists the instructions of a program's code sections, with its symbols.")
    .argument('<FILE.elf>', 'the program, an RV64 ELF file')
    .addHelpText('after', HELP)
    .action(disassemble)
}

async function disassemble(path: string): Promise<void> {
  const { listProgram } = await import('../node/listing.ts')
  let lines: string[] = []
  for (const line of listProgram(path)) {
    if (lines.push(line) < LINES_MAX) continue
    writeOutput(`${lines.join('\n')}\n`)
    lines = []
  }
  writeOutput(`${lines.join('\n')}\n`)
}
