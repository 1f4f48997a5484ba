/**
 * A DHCP server for the one guest (RFC 2131): it always gets the same address.
 *
 *     op 1, htype 1, hlen 1, hops 1 | xid 4 | secs 2, flags 2 | ciaddr 4 | yiaddr 4 | siaddr 4 | giaddr 4 | chaddr 16 |
 *     sname 64 | file 128 | magic 4 | options: code, length, bytes
 */
import { isSameMac, MAC_BYTES, networkMask } from './address.ts'
import { get16, get32, put16, put32 } from './big_endian.ts'
import { MTU_BYTES } from './ethernet.ts'
import { type Refusal, refuse } from './refusal.ts'

export const DHCP_SERVER_PORT = 67
export const DHCP_CLIENT_PORT = 68

const AT = {
  xid: 4,
  flags: 10,
  ciaddr: 12,
  yiaddr: 16,
  siaddr: 20,
  giaddr: 24,
  chaddr: 28,
  magic: 236,
} as const
const OPTIONS_AT = 240
const MAGIC = 0x6382_5363
const BOOT_REQUEST = 1
const BOOT_REPLY = 2
const BROADCAST_FLAG = 0x8000
/** Some clients take nothing shorter: BOOTP's length. */
const REPLY_BYTES_MIN = 300
const LEASE_SECONDS = 86_400

const OPTION = {
  ...{
    pad: 0,
    mask: 1,
    router: 3,
    dns: 6,
    mtu: 26,
    requested: 50,
    lease: 51,
    type: 53,
    server: 54,
    end: 255,
  },
} as const
const TYPE = { discover: 1, offer: 2, request: 3, ack: 5, nak: 6, inform: 8 } as const

export interface DhcpSettings {
  readonly guestAddress: number
  readonly gatewayAddress: number
  readonly dnsAddress: number
  readonly prefix: number
}

export interface DhcpReply {
  readonly message: Uint8Array
  /** The guest cannot be spoken to at its own address yet. */
  readonly isBroadcast: boolean
}

interface DhcpRequest {
  readonly message: Uint8Array
  readonly type: number
  readonly requested: number | undefined
  readonly server: number | undefined
}

/** The answer to a message from the guest with this MAC; undefined if it needs none. */
export function dhcpReply(
  bytes: Uint8Array,
  mac: Uint8Array,
  settings: DhcpSettings,
): DhcpReply | Refusal | undefined {
  const request = parse(bytes)
  if (request === undefined) return refuse('a DHCP message that is malformed')
  if (!isSameMac(bytes.subarray(AT.chaddr), mac))
    return refuse("a DHCP message for somebody else's interface")
  const { type, requested, server } = request
  const current = get32(bytes, AT.ciaddr)
  if (type === TYPE.discover) return reply(request, TYPE.offer, settings)
  if (type === TYPE.inform) return reply(request, TYPE.ack, settings)
  if (type !== TYPE.request || (server !== undefined && server !== settings.gatewayAddress)) return undefined
  const wanted = requested ?? current
  return reply(request, wanted === settings.guestAddress ? TYPE.ack : TYPE.nak, settings)
}

function parse(message: Uint8Array): DhcpRequest | undefined {
  if (message.length < OPTIONS_AT || get32(message, AT.magic) !== MAGIC) return undefined
  if (message[0] !== BOOT_REQUEST || message[1] !== 1 || message[2] !== MAC_BYTES) return undefined
  let type: number | undefined
  let requested: number | undefined
  let server: number | undefined
  for (let at = OPTIONS_AT; at < message.length && message[at] !== OPTION.end; ) {
    const code = message[at]!
    if (code === OPTION.pad) {
      at++
      continue
    }
    const length = message[at + 1]
    if (length === undefined || at + 2 + length > message.length) return undefined
    if (code === OPTION.type && length === 1) type = message[at + 2]!
    if (code === OPTION.requested && length === 4) requested = get32(message, at + 2)
    if (code === OPTION.server && length === 4) server = get32(message, at + 2)
    at += 2 + length
  }
  return type === undefined ? undefined : { message, type, requested, server }
}

function reply({ message, type: asked }: DhcpRequest, type: number, settings: DhcpSettings): DhcpReply {
  const bytes = new Uint8Array(REPLY_BYTES_MIN)
  bytes[0] = BOOT_REPLY
  bytes[1] = 1
  bytes[2] = MAC_BYTES
  bytes.set(message.subarray(AT.xid, AT.xid + 4), AT.xid)
  bytes.set(message.subarray(AT.flags, AT.flags + 2), AT.flags)
  bytes.set(message.subarray(AT.giaddr, AT.giaddr + 20), AT.giaddr)
  put32(bytes, AT.magic, MAGIC)
  const isInform = asked === TYPE.inform
  if (isInform) bytes.set(message.subarray(AT.ciaddr, AT.ciaddr + 4), AT.ciaddr)
  if (type !== TYPE.nak) {
    if (!isInform) put32(bytes, AT.yiaddr, settings.guestAddress)
    put32(bytes, AT.siaddr, settings.gatewayAddress)
  }
  writeOptions(bytes, type, isInform, settings)
  const isBroadcast = type === TYPE.nak || (get16(message, AT.flags) & BROADCAST_FLAG) !== 0
  return { message: bytes, isBroadcast }
}

function writeOptions(bytes: Uint8Array, type: number, isInform: boolean, settings: DhcpSettings): void {
  let at = OPTIONS_AT
  const option = (code: number, length: number): number => {
    bytes[at] = code
    bytes[at + 1] = length
    at += 2 + length
    return at - length
  }
  bytes[option(OPTION.type, 1)] = type
  put32(bytes, option(OPTION.server, 4), settings.gatewayAddress)
  if (type !== TYPE.nak) {
    if (!isInform) put32(bytes, option(OPTION.lease, 4), LEASE_SECONDS)
    put32(bytes, option(OPTION.mask, 4), networkMask(settings.prefix))
    put32(bytes, option(OPTION.router, 4), settings.gatewayAddress)
    put32(bytes, option(OPTION.dns, 4), settings.dnsAddress)
    put16(bytes, option(OPTION.mtu, 2), MTU_BYTES)
  }
  bytes[at] = OPTION.end
}
