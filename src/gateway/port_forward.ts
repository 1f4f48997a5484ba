/** Ports of this host that stand for ports of the guest, as people write them: `[host:]H:G`. */
import { isIPv4, isIPv6 } from 'node:net'
import { UserError } from '../base/errors.ts'

/** Nobody but this host can connect unless somebody asks for more. */
const HOST_DEFAULT = '127.0.0.1'
const PORT_MAX = 65_535

export interface PortForward {
  /** IPv4 or IPv6, without brackets. */
  readonly hostAddress: string
  /** 0 for any that is free. */
  readonly hostPort: number
  readonly guestPort: number
}

/** Reads `8080:80`, `0.0.0.0:8080:80` or `[::]:8080:80`. Throws a UserError that says what is wrong. */
export function parsePortForward(text: string): PortForward {
  const parts = /^(?:(?:\[([^\]]*)\]|([^:[\]]*)):)?([^:]*):([^:]*)$/.exec(text)
  if (parts === null) throw problem(text, 'write [HOST:]PORT:GUESTPORT, an IPv6 address in brackets')
  const [, v6, v4, hostPort = '', guestPort = ''] = parts
  if (v6 !== undefined && !isIPv6(v6)) throw problem(text, `'${v6}' is not an IPv6 address`)
  if (v4 !== undefined && !isIPv4(v4)) throw problem(text, `'${v4}' is not an IPv4 address`)
  return {
    hostAddress: v6 ?? v4 ?? HOST_DEFAULT,
    hostPort: port(text, hostPort, 0),
    guestPort: port(text, guestPort, 1),
  }
}

/** As `parsePortForward` reads it. */
export function portForwardText({ hostAddress, hostPort, guestPort }: PortForward): string {
  const host = isIPv6(hostAddress) ? `[${hostAddress}]` : hostAddress
  return `${host}:${hostPort}:${guestPort}`
}

function port(text: string, digits: string, min: number): number {
  const number = Number(digits)
  if (/^\d{1,5}$/.test(digits) && number >= min && number <= PORT_MAX) return number
  throw problem(text, `'${digits}' is not a port from ${min} to ${PORT_MAX}`)
}

function problem(text: string, what: string): UserError {
  return new UserError(`port forward '${text}': ${what}`)
}
