/** What a campaign of seeds should have tried: every fault in every state of the protocol, but for what is listed. */
import { FAULT_NAMES, type FaultName } from '../faults.ts'
import { Coverage, type Exclusion, type Pair } from './coverage.ts'

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
  'primary/ready',
  'primary/adding, undecided',
  'primary/protected',
  'primary/backup lost, undecided',
  'primary/backup diverged',
  'primary/arbiter unreachable, undecided',
  'primary/paused',
  'primary/handing over',
  'primary/stopping',
] as const

const needsPrimary = 'needs a primary, and while the machine is stopped there is none'

/** What brings a state about that does not come by itself. */
export const INDUCED_BY: Readonly<Partial<Record<(typeof STATES)[number], readonly FaultName[]>>> = {
  'no power': ['power cut'],
  'no process': ['process crash'],
  'starting/waiting for the backup host': ['total power cut'],
  'starting/arbiter unreachable': ['arbiter down', 'total power cut'],
  'starting/stopped': ['operator stop'],
  'backup/failing over': ['slow execution', 'slow execution', 'primary crash'],
  'backup/failing over, undecided': ['primary crash'],
  'backup/arbiter unreachable, undecided': ['arbiter down', 'primary crash'],
  'primary/backup lost, undecided': ['process crash'],
  'primary/backup diverged': ['RAM corruption'],
  'primary/arbiter unreachable, undecided': ['arbiter down', 'process crash'],
  'primary/paused': ['primary pause'],
  'primary/handing over': ['hand-over'],
  'primary/stopping': ['operator stop'],
}

export const EXCLUSIONS: readonly Exclusion[] = [
  { fault: 'hand-over', state: 'starting/stopped', reason: needsPrimary },
  { fault: 'operator stop', state: 'starting/stopped', reason: needsPrimary },
  { fault: 'guest power-off', state: 'starting/stopped', reason: needsPrimary },
  ...STATES.filter((state) => state.startsWith('starting/')).map((state) => ({
    ...{ fault: 'RAM corruption', state },
    reason: 'there is no machine yet',
  })),
  { fault: 'total power cut', state: 'no power', reason: 'it finds the others up, which are counted' },
  { fault: 'arbiter down', state: 'starting/arbiter unreachable', reason: 'nothing changes' },
  { fault: 'arbiter down', state: 'backup/arbiter unreachable, undecided', reason: 'nothing changes' },
  { fault: 'arbiter down', state: 'primary/arbiter unreachable, undecided', reason: 'nothing changes' },
]

/** All pairs that should meet. */
export const GOALS: readonly Pair[] = new Coverage().missing(FAULT_NAMES, STATES, EXCLUSIONS)

/** The pairs that should have met and have not. */
export function missingPairs(coverage: Coverage): Pair[] {
  return coverage.missing(FAULT_NAMES, STATES, EXCLUSIONS)
}
