/**
 * The order that effects must have within one step, checked on every step:
 *
 *  - nothing comes behind a halt
 *  - `boot` or `takeOver` comes before `attach`, and `attach` before any `release` of the same step
 *  - records go to the machine (`feed`) only before it takes over, never after
 *  - a channel that is closed in this step is sent nothing more
 */
import { assert } from '../base/assert.ts'
import type { Effect } from './ports.ts'

/** @throws AssertionError if the effects of one step are in a wrong order */
export function checkEffects(effects: readonly Effect[]): void {
  if (effects.length < 2 && effects[0]?.kind !== 'attach') return
  const seen = new Set<Effect['kind']>()
  const closed = new Set<number>()
  for (const effect of effects) {
    assert(!seen.has('halt'), `${effect.kind} after a halt`)
    if (effect.kind === 'attach') {
      assert(seen.has('boot') || seen.has('takeOver'), 'attached before the machine is a primary')
      assert(!seen.has('release'), 'released before attached')
    }
    if (effect.kind === 'feed') assert(!seen.has('takeOver'), 'records of the old primary after taking over')
    if (effect.kind === 'send') assert(!closed.has(effect.channel), 'sent on a closed channel')
    if (effect.kind === 'close') closed.add(effect.channel)
    seen.add(effect.kind)
  }
}
