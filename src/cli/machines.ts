/** Protected machines by their names, as commands want them. */
import { dirname, join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { imagesDirectory } from '../image/store.ts'
import { Pair } from '../node/host/pair.ts'
import type { ProgramStart } from '../node/host/pair_run.ts'

/** Where protected machines are kept. */
export function machinesDirectory(): string {
  return join(dirname(imagesDirectory()), 'machines')
}

/** Where a host's daemon keeps its machines. */
export function hostDirectory(name: string): string {
  return join(dirname(imagesDirectory()), 'host', name)
}

/** The secret that hosts share, unless another file is named. */
export function hostSecretFile(): string {
  return join(dirname(imagesDirectory()), 'host-secret')
}

/** The machine of this name, or the only one there is. Throws a UserError if that is not clear. */
export function openPair(name: string | undefined): Pair {
  const root = machinesDirectory()
  if (name !== undefined) return Pair.open(root, name)
  const names = Pair.names(root)
  if (names.length === 1) return Pair.open(root, names[0]!)
  if (names.length === 0) throw new UserError('there is no machine yet: start one with understudy run')
  throw new UserError(`there are several machines, name one: ${names.join(', ')}`)
}

/** How this program starts itself. */
export function programStart(): ProgramStart {
  return { command: process.execPath, parameters: [...process.execArgv, process.argv[1]!] }
}

/** A line for people about what has happened now. */
export function logLine(text: string): string {
  return `${new Date().toISOString()} ${text.replace(/\s*\n\s*/g, ' ')}\n`
}
