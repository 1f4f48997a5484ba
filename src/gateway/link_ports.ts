/**
 * How ordinals count on a port of the machine (`PORT` in src/board/computer.ts, whose numbers are part of the link's
 * protocol): by one with each frame of the network, by the bytes on every other.
 */
export const NET_PORT = 2

/** Ports whose outputs are frames. */
export const FRAME_PORTS: ReadonlySet<number> = new Set([NET_PORT])
