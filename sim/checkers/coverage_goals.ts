/** What a campaign of seeds should have tried: every fault in every state of the protocol, but for what is listed. */
import { FAULT_NAMES } from '../faults.ts'
import type { Coverage, Exclusion, Pair } from './coverage.ts'

/**
 * The states that a fault may find a host in: a process's role and its protection, or how far the copy is that joins a
 * primary, and whether a change is undecided; or that there is no process.
 */
export const STATES = [
  'no power',
  'no process',
  'starting/starting',
  'starting/starting, undecided',
  'starting/waiting for the backup host',
  'starting/arbiter unreachable',
  'starting/stopped',
  'joining/backup joining',
  'backup/protected',
  'backup/failing over',
  'backup/failing over, undecided',
  'backup/arbiter unreachable, undecided',
  'primary/need backup',
  'primary/snapshot',
  'primary/transfer',
  'primary/catching up',
  'primary/gating',
  'primary/ready, undecided',
  'primary/protected',
  'primary/backup lost, undecided',
  'primary/backup diverged',
  'primary/arbiter unreachable, undecided',
  'primary/paused',
  'primary/handing over',
  'primary/stopping',
] as const

const needsPrimary = 'needs a primary, and while the machine is stopped there is none'

export const EXCLUSIONS: readonly Exclusion[] = [
  { fault: 'hand-over', state: 'starting/stopped', reason: needsPrimary },
  { fault: 'operator stop', state: 'starting/stopped', reason: needsPrimary },
  { fault: 'guest power-off', state: 'starting/stopped', reason: needsPrimary },
  { fault: 'RAM corruption', state: 'starting/stopped', reason: needsPrimary },
  { fault: 'total power cut', state: 'no power', reason: 'it finds the others up, which are counted' },
  { fault: 'arbiter down', state: 'starting/arbiter unreachable', reason: 'nothing changes' },
  { fault: 'arbiter down', state: 'backup/arbiter unreachable, undecided', reason: 'nothing changes' },
  { fault: 'arbiter down', state: 'primary/arbiter unreachable, undecided', reason: 'nothing changes' },
]

/** The pairs that should have met and have not. */
export function missingPairs(coverage: Coverage): Pair[] {
  return coverage.missing(FAULT_NAMES, STATES, EXCLUSIONS)
}
