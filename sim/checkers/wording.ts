/** How checkers name things in their messages, and as keys. */
import type { Configuration } from '../../src/replication/configuration.ts'
import type { ProcessId } from '../observation.ts'

/** `a/7f3c`: host and incarnation; also the key by which processes are told apart. */
export function nameOf({ host, incarnation }: ProcessId): string {
  return `${host}/${incarnation}`
}

/** `configuration 4 (drop: a/7f3c alone)` */
export function describeConfiguration(configuration: Configuration | undefined): string {
  if (configuration === undefined) return 'no configuration'
  const { epoch, change, primary, backup, phase } = configuration
  const members =
    backup === undefined ? `${nameOf(primary)} alone` : `${nameOf(primary)} with ${nameOf(backup)}`
  return `configuration ${epoch} (${change}: ${members}${phase === 'stopped' ? ', stopped' : ''})`
}

export function isSameProcess(a: ProcessId | undefined, b: ProcessId | undefined): boolean {
  return a !== undefined && b !== undefined && a.host === b.host && a.incarnation === b.incarnation
}
