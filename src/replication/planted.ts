/**
 * Bugs that tests plant, to see that the simulator finds them. Only a test can: nothing in the product sets
 * `MemberOptions.planted`. Each name is looked for at the one place where it makes a difference.
 */
export const BUGS = [
  'early release',
  'backup goes live without a change',
  'primary drops the backup without a change',
  'dropped record',
  'duplicated record',
  'live before the last record',
  'acknowledgement after the seal',
  'release after a lost change',
  'stale epoch accepted',
  'unknown outcome taken as lost',
  'abandoned change',
  'identity reused',
  'joiner eligible early',
  'gate opened before the change',
  'replacement without a change',
  'snapshot at the wrong position',
  'request in flight at joining',
  'cold start from an old disk',
  'dedupe by epoch',
  'cold start while a backup lives',
  'ordinals restarted',
  're-emission with other bytes',
  'live after a divergence',
] as const
export type Bug = (typeof BUGS)[number]
