/** How safe a machine is, in the words that VMware FT uses: what status commands, metrics and pages show. */

export const PROTECTION_REASONS = [
  'starting',
  'waiting for the backup host',
  'need backup',
  'backup joining',
  'backup lost',
  'backup diverged',
  'backup too slow',
  'arbiter unreachable',
  'paused',
  'failing over',
  'handing over',
  'stopping',
] as const
export type ProtectionReason = (typeof PROTECTION_REASONS)[number]

export type Protection =
  /** Two copies: either may die. */
  | { readonly state: 'protected' }
  /** The machine runs, or is about to; the loss of one host would stop it. `detail` is for people. */
  | { readonly state: 'not protected'; readonly reason: ProtectionReason; readonly detail?: string }
  /** Its last configuration says that it has ended in order. */
  | { readonly state: 'stopped' }
  /** This process plays no part any more. */
  | { readonly state: 'halted'; readonly reason: string }
