/** What a machine gives the thread that emits for it, without such a thread. */
import type { Engine } from '../../wasm/engine.ts'
import { Machine } from '../machine.ts'
import type { EmissionParts } from '../translator/emission.ts'
import type { EmissionThread } from '../translator/emission_thread.ts'

/** A thread of which nothing comes. */
export const idleThread = {
  ...{ isReady: true, hasAnswer: false, order() {}, meet() {}, finish() {}, cancel() {} },
  take: () => undefined,
} as const satisfies EmissionThread

/** Of a new machine; and its RAM. */
export function emissionPartsOf(
  engine: Engine,
  ramBytes: number,
): { parts: EmissionParts; ram: Machine['ram'] } {
  let found: EmissionParts | undefined
  const { ram } = new Machine({
    ...{ engine, harts: 1, ramBytes, translation: 'hot' },
    emission: (parts) => {
      found = parts
      return idleThread
    },
  })
  return { parts: found!, ram }
}
