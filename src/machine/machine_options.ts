/** What a machine is made of. */
import { assert } from '../base/assert.ts'
import type { Engine } from '../wasm/engine.ts'
import type { Mapping } from './bus.ts'
import type { Hart } from './hart.ts'
import { HARTS_MAX } from './layout.ts'
import type { Machine } from './machine.ts'
import type { EmissionThreadStarter } from './translator/emission_thread.ts'
import type { TranslationObserver } from './translator/observer.ts'

const MIB = 1024 * 1024

/** `hot`: code that takes much time. For tests of the translator, `eager`: whatever is met; `patient`: the same, some time later. */
export type Translation = 'off' | 'hot' | 'eager' | 'patient'

export interface MachineOptions {
  readonly engine: Engine
  readonly harts: number
  /** A multiple of 2 MiB, from 2 MiB to 3 GiB. */
  readonly ramBytes: number
  /** The devices, given the machine that they are part of. */
  readonly devices?: (machine: Machine) => readonly Mapping[]
  /** Answers an environment call of S-mode; without it, such calls trap to M-mode. */
  readonly onSbiCall?: (hart: Hart) => void
  /** Which code is translated to WebAssembly; none by default. What the guest sees is the same. */
  readonly translation?: Translation
  /** Starts the thread that emits what is translated; without it, the machine does it behind slices. */
  readonly emission?: EmissionThreadStarter | undefined
  /** Hears of what is translated. */
  readonly observer?: TranslationObserver | undefined
  /** A store to a page watched by `watchHost` has taken place, at this offset in RAM. */
  readonly onHostStore?: (offset: number, size: number) => void
}

/** Stops at options that no machine can have; whoever takes them from a user checks them before. */
export function checkOptions({ harts, ramBytes }: MachineOptions): void {
  assert(Number.isInteger(harts) && harts >= 1 && harts <= HARTS_MAX, `1 to ${HARTS_MAX} harts, not ${harts}`)
  const fits = ramBytes >= 2 * MIB && ramBytes <= 3072 * MIB && ramBytes % (2 * MIB) === 0
  assert(fits, `RAM must be a multiple of 2 MiB from 2 MiB to 3 GiB, not ${ramBytes} bytes`)
}
