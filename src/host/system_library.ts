/** Calls of the C library that Node lacks, by koffi: an optional dependency, loaded when it is first needed. */
import { createRequire } from 'node:module'

/** What is used of koffi, which may be missing when types are checked. */
export interface Koffi {
  load(library: null): { func(prototype: string): (...parameters: unknown[]) => number }
  errno(): number
  readonly os: { readonly errno: Readonly<Record<string, number>> }
}

/** Throws whatever Node throws if the package is not there, or not for this system. */
export function loadKoffi(): Koffi {
  return createRequire(import.meta.url)('koffi') as Koffi
}
