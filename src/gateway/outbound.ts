/** Where a guest may connect to, and what host and port that is from here. */
import { isIP, isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { UserError } from '../base/errors.ts'
import {
  ipv4FromText,
  ipv4Text,
  isLinkLocal,
  isLoopback,
  isMulticastOrReserved,
  networkMask,
} from './stack/address.ts'
import type { DhcpSettings } from './stack/dhcp.ts'

const DNS_PORT = 53
/**
 * Where clouds tell a machine, and whoever asks from there, its keys, beside the link-local addresses that most of them
 * use: Azure's, Alibaba's, and Oracle's.
 */
const METADATA: ReadonlySet<string> = new Set(['168.63.129.16', '100.100.100.200', '192.0.0.192'])
/** The host's own addresses change seldom, and to ask for them takes a system call or more. */
const OWN_ADDRESSES_MS = 1000

export interface Destination {
  readonly host: string
  readonly port: number
}

export interface OutboundOptions extends DhcpSettings {
  readonly allowLoopback: boolean
  readonly dnsServers: readonly Destination[]
}

export class Outbound {
  readonly #options: OutboundOptions
  #own = new Set<string>()
  #ownAt = Number.NEGATIVE_INFINITY

  constructor(options: OutboundOptions) {
    this.#options = options
  }

  /** Where the guest's resolver's queries go: to the first of these that answers. */
  get dnsServers(): readonly Destination[] {
    return this.#options.dnsServers
  }

  isDns(address: number, port: number): boolean {
    return address === this.#options.dnsAddress && port === DNS_PORT
  }

  /**
   * Where a connection to `address` goes; undefined if it may not be made. The gateway's address is the host's loopback,
   * as far as that is allowed: a service that listens there alone does not expect a guest. The same permission is needed
   * for what answers the host because it is that host: its own link, with the metadata that clouds keep there.
   */
  destination(address: number, port: number): Destination | undefined {
    const { gatewayAddress, dnsAddress, guestAddress, prefix, allowLoopback } = this.#options
    if (port === 0) return undefined
    if (this.isDns(address, port)) return this.#options.dnsServers[0]
    if (address === gatewayAddress) return allowLoopback ? { host: '127.0.0.1', port } : undefined
    const mask = networkMask(prefix)
    const isOnLink = ((address ^ guestAddress) & mask) === 0
    if (address === dnsAddress || isOnLink || isMulticastOrReserved(address)) return undefined
    const host = ipv4Text(address)
    if (!allowLoopback && this.#isOfHost(address, host)) return undefined
    return { host, port }
  }

  /** Whether it is the host itself, or means another to each host that asks. */
  #isOfHost(address: number, host: string): boolean {
    return isLoopback(address) || isLinkLocal(address) || METADATA.has(host) || this.#isOwn(host)
  }

  #isOwn(host: string): boolean {
    const now = performance.now()
    if (now - this.#ownAt >= OWN_ADDRESSES_MS) {
      this.#ownAt = now
      const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
      this.#own = new Set(all.map((each) => each.address))
    }
    return this.#own.has(host)
  }
}

/** Reads a name server as `dns.getServers()` writes it: an address, with a port where it is not 53. */
export function parseDnsServer(text: string): Destination {
  if (isIP(text) !== 0) return { host: text, port: DNS_PORT }
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const host = parts?.[1] ?? parts?.[2] ?? ''
  const port = Number(parts?.[3])
  if (isIP(host) === 0 || !(port >= 1 && port <= 65_535)) {
    throw new UserError(`name server '${text}': write an IP address, and a port behind it if it is not 53`)
  }
  return { host, port }
}

/** Whether sockets for it are of IPv4. */
export function isDestinationIpv4({ host }: Destination): boolean {
  return isIPv4(host)
}

/** The number of an address in the options; a UserError if it is none. */
export function requireIpv4(text: string, what: string): number {
  const address = ipv4FromText(text)
  if (address === undefined) throw new UserError(`${what} '${text}': not an IPv4 address`)
  return address
}
