/**
 * The command line. Each command is a module of its own, loaded only when it is called for: programs are run by the
 * hundred, and the start of each counts. To add a command, write a module that exports `define` and add its line to the
 * table below.
 */
import { readFileSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError, reportFailure } from './failure.ts'
import { writeError, writeOutput } from './standard_streams.ts'

interface CommandModule {
  /** Gives the command its arguments, options, help and action. */
  define(command: Command): void
}

interface CommandEntry {
  readonly name: string
  readonly summary: string
  load(): Promise<CommandModule>
}

const commands: readonly CommandEntry[] = [
  {
    name: 'demo',
    summary: 'kill half of a machine that runs Redis, and lose nothing',
    load: () => import('./demo.ts'),
  },
  { name: 'run', summary: 'run a protected machine', load: () => import('./run.ts') },
  { name: 'status', summary: 'say how a protected machine is', load: () => import('./status.ts') },
  { name: 'ls', summary: 'list protected machines', load: () => import('./ls.ts') },
  { name: 'watch', summary: 'follow what happens to a protected machine', load: () => import('./watch.ts') },
  { name: 'failover', summary: 'hand a machine over to its backup', load: () => import('./failover.ts') },
  { name: 'console', summary: "use a protected machine's console", load: () => import('./console.ts') },
  {
    name: 'snapshot',
    summary: 'save a protected machine while it runs',
    load: () => import('./snapshot.ts'),
  },
  {
    name: 'force',
    summary: 'start a machine whose other copy does not come back',
    load: () => import('./force.ts'),
  },
  { name: 'stop', summary: 'stop a protected machine in order', load: () => import('./stop.ts') },
  {
    name: 'schema',
    summary: "print the JSON Schema of a machine's file",
    load: () => import('./schema.ts'),
  },
  { name: 'host', summary: 'be a host for protected machines', load: () => import('./host.ts') },
  { name: 'gateway', summary: "run a machine's gateway", load: () => import('./gateway.ts') },
  {
    name: 'supervise',
    summary: 'keep the processes of a machine running',
    load: () => import('./supervise.ts'),
  },
  { name: 'boot', summary: 'boot a guest image', load: () => import('./boot.ts') },
  { name: 'replay', summary: 'execute a recording again and compare', load: () => import('./replay.ts') },
  { name: 'exec', summary: 'run a bare-metal RV64 program', load: () => import('./exec.ts') },
  { name: 'disassemble', summary: "list a program's instructions", load: () => import('./disassemble.ts') },
  { name: 'image', summary: 'build and keep guest images', load: () => import('./image.ts') },
  { name: 'doctor', summary: 'say what is missing on this machine', load: () => import('./doctor.ts') },
]

const HELP = `
Exit codes: that of the program in the guest, or ${EXIT_CODE.usage} to ${EXIT_CODE.halted} for Understudy's own; see docs/exit-codes.md.
UNDERSTUDY_DEBUG=1 shows where errors come from.

Examples:
  understudy demo
  understudy doctor
  understudy image build debian
  understudy run debian -p 6379:6379
  understudy status
  understudy boot debian
  understudy exec program.elf
  understudy help exec`

async function main(parameters: readonly string[]): Promise<void> {
  enableCompileCache(compileCacheDirectory())
  const { Command } = await import('commander')
  const program = new Command('understudy')
    .description('A deterministic RISC-V computer that boots unmodified Debian.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', HELP)
    .exitOverride(onCommanderExit)
    .configureOutput({ writeOut: writeOutput, writeErr: writeError, outputError: () => {} })
  for (const { name, summary, load } of commands) {
    const command = program.command(name).summary(summary)
    // `understudy NAME` and `understudy help NAME` need this command; the others are only listed.
    if (parameters.slice(0, 2).includes(name)) (await load()).define(command)
  }
  if (parameters.length === 0) program.help({ error: true })
  const [first, topic] = parameters
  if (first === 'help' && topic !== undefined && !commands.some(({ name }) => name === topic))
    throw new CommandError(`unknown command '${topic}'. Try --help`, EXIT_CODE.usage)
  await program.parseAsync(parameters, { from: 'user' })
}

/**
 * Where V8 keeps compiled code from one start to the next; the launcher names the same place in NODE_COMPILE_CACHE, which
 * then comes first. Not Node's default below /tmp, where others could put code for us.
 */
function compileCacheDirectory(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'understudy', 'compiled')
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Commander wants to end the process: after printing help that is all, otherwise something is wrong. */
function onCommanderExit(error: Error & { readonly code: string; readonly exitCode: number }): never {
  if (error.exitCode === 0) process.exit(EXIT_CODE.success)
  if (error.code === 'commander.help') process.exit(EXIT_CODE.usage)
  const message = error.message.replace(/^error: /, '').trim()
  throw Object.assign(error, { message: `${message}${/[.)?]$/.test(message) ? '' : '.'} Try --help` })
}

process.on('uncaughtException', (error) => process.exit(reportFailure(error)))
try {
  await main(process.argv.slice(2))
} catch (error) {
  // At once: what a command had begun before it failed, a listener or a thread, must not go on without it.
  process.exit(reportFailure(error))
}
