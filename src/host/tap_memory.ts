/** What the thread that reads from a TAP shares with the main thread. */

/** Ethernet's headers with a VLAN tag, and the most that an interface's MTU can be. */
export const FRAME_BYTES_MAX = 65_535 + 18

/** Words of the shared memory. */
export const TAP_CONTROL = {
  isEnded: 0,
  isHeld: 1,
  /** The descriptor to read from, plus one; 0 for none. */
  descriptor: 2,
  /** Frames that were reported and that the main thread has not seen. */
  framesWaiting: 3,
} as const

export const TAP_CONTROL_WORDS = 4
