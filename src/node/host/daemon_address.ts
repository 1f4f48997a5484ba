/** Addresses of daemons, as people write them: `HOST`, `HOST:PORT`, `[IPV6]:PORT`. */
import { isIPv6 } from 'node:net'
import { UserError } from '../../base/errors.ts'
import { DAEMON_PORT } from './daemon_protocol.ts'
import type { Address } from './host_config.ts'

const PORT_MAX = 65_535

/** Throws a UserError if it is none; port 0 is one only where `portMin` says so. */
export function parseDaemonAddress(text: string, portMin: 0 | 1 = 1): Address {
  const match = /^(?:\[([^\][]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text)
  const [, v6, plain, digits] = match ?? []
  const host = v6 ?? plain
  const port = digits === undefined ? DAEMON_PORT : Number(digits)
  const isHost = v6 === undefined ? host !== undefined : isIPv6(v6)
  if (isHost && port >= portMin && port <= PORT_MAX) return { host: host!, port }
  throw new UserError(
    `'${text}' is no address of a host: write HOST or HOST:PORT, an IPv6 address in brackets`,
  )
}

export function daemonAddressText({ host, port }: Address): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}

/** Whether only programs of the same computer reach this address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** Whether it stands for all addresses of a computer: one can listen there, and not be reached by that name. */
export function isEveryAddress(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}
