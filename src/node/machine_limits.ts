/** What the machine can be made of, for commands that check their options before anything else is loaded. */
import { HARTS_MAX, RAM_BYTES_MAX, RAM_BYTES_MIN } from '../board/memory_map.ts'

export { HARTS_MAX, RAM_BYTES_MAX, RAM_BYTES_MIN }

/** RAM is a multiple of this: the machine's tables cover it in pages of 2 MiB. */
export const RAM_BYTES_STEP = 2 * 2 ** 20
/** Bare programs get along with less RAM than a kernel. */
export const BARE_RAM_BYTES_MIN = RAM_BYTES_STEP
