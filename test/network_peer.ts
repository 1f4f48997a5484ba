/** The other end of a guest's network, for tests: asks for its address (ARP) and pings it (ICMP). */

const PEER_MAC = [0x02, 0, 0, 0, 0, 0x02]
const PEER_ADDRESS = [10, 0, 2, 2]
const GUEST_ADDRESS = [10, 0, 2, 15]
const ETHERNET_BYTES = 14
const IPV4_BYTES = 20
const TYPE_IPV4 = 0x0800
const TYPE_ARP = 0x0806
const PROTOCOL_ICMP = 1

export class NetworkPeer {
  readonly #send: (frame: Uint8Array) => void
  #guestMac: number[] | undefined
  #sequence = 0
  #replies = 0

  constructor(send: (frame: Uint8Array) => void) {
    this.#send = send
  }

  /** Pings that the guest has answered. */
  get replies(): number {
    return this.#replies
  }

  /** Whether the guest has said where it is. */
  get hasGuest(): boolean {
    return this.#guestMac !== undefined
  }

  /** Takes a frame from the guest. */
  receive(frame: Uint8Array): void {
    const type = new DataView(frame.buffer, frame.byteOffset).getUint16(12)
    const sender = [...frame.subarray(6, 12)]
    if (type === TYPE_ARP) {
      if ([...frame.subarray(28, 32)].join('.') === GUEST_ADDRESS.join('.')) this.#guestMac = sender
      // A request for our address.
      if (frame[21] === 1 && frame[41] === PEER_ADDRESS[3]) this.#arp(2, sender)
    } else if (type === TYPE_IPV4 && frame[ETHERNET_BYTES + 9] === PROTOCOL_ICMP) {
      if (frame[ETHERNET_BYTES + IPV4_BYTES] === 0) this.#replies++
    }
  }

  /** Asks who has the guest's address. */
  resolve(): void {
    this.#arp(1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
  }

  /** Sends an echo request with `bytes` of data. */
  ping(bytes: number): void {
    const icmp = Uint8Array.from([8, 0, 0, 0, 0x12, 0x34, ...word(++this.#sequence), ...pattern(bytes)])
    icmp.set(word(checksum(icmp)), 2)
    const header = Uint8Array.from([
      ...[0x45, 0, ...word(IPV4_BYTES + icmp.length), ...word(this.#sequence), 0x40, 0],
      ...[64, PROTOCOL_ICMP, 0, 0, ...PEER_ADDRESS, ...GUEST_ADDRESS],
    ])
    header.set(word(checksum(header)), 10)
    this.#frame(this.#guestMac!, TYPE_IPV4, [...header, ...icmp])
  }

  #arp(operation: number, target: readonly number[]): void {
    const head = [0, 1, ...word(TYPE_IPV4), 6, 4, ...word(operation)]
    this.#frame(target, TYPE_ARP, [...head, ...PEER_MAC, ...PEER_ADDRESS, ...target, ...GUEST_ADDRESS])
  }

  #frame(target: readonly number[], type: number, content: readonly number[]): void {
    this.#send(Uint8Array.from([...target, ...PEER_MAC, ...word(type), ...content]))
  }
}

const word = (value: number): [number, number] => [value >> 8, value & 0xff]

const pattern = (bytes: number): number[] => Array.from({ length: bytes }, (_, i) => (i * 7) & 0xff)

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return ~sum & 0xffff
}
