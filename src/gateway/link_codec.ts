/**
 * The bytes of the gateway link: frames (src/host/frame_stream.ts), numbers little-endian.
 *
 *     kind           sent by   content
 *     1 hello        primary   magic u32, version u16, epoch u32, life u32, machine text
 *     2 output       primary   port u16, ordinal u64, bytes
 *     3 hold         primary   held u8: whether inputs are to stay away for a while
 *     4 welcome      gateway   count u16, then for each port: port u16, ordinal u64
 *     5 refused      gateway   reason text
 *     6 left         gateway   port u16, ordinal u64
 *     7 input        gateway   port u16, bytes
 *
 * A text is a u16 length and printable ASCII; `bytes` are all that the frame still holds.
 */
import { assert } from '../base/assert.ts'
import { type ByteReader, ByteWriter } from '../base/bytes.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import { encodeFrame, type Frame, FrameDecoder } from '../host/frame_stream.ts'
import type { PortOrdinal } from '../replication/message.ts'

export type LinkMessage =
  | { readonly kind: 'hello'; readonly epoch: number; readonly life: number; readonly machine: string }
  | { readonly kind: 'output'; readonly port: number; readonly ordinal: bigint; readonly bytes: Uint8Array }
  | { readonly kind: 'hold'; readonly isHeld: boolean }
  | { readonly kind: 'welcome'; readonly left: readonly PortOrdinal[] }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'left'; readonly port: number; readonly ordinal: bigint }
  | { readonly kind: 'input'; readonly port: number; readonly bytes: Uint8Array }

/** The longest piece of output or input: above any frame of a network. */
export const LINK_BYTES_MAX = 64 << 10
export const LINK_VERSION = 1
/** "usgl" */
const MAGIC = 0x6c677375
/** What stands before the bytes of an output. */
const HEADER_BYTES = 10
const TEXT_BYTES_MAX = 1024
/** A machine has a handful. */
const PORTS_MAX = 64

interface Form<Kind extends LinkMessage> {
  readonly code: number
  /** What its content takes at most. */
  readonly bytesMax: number
  write(writer: ByteWriter, message: Kind): void
  read(reader: ByteReader): Omit<Kind, 'kind'>
}

const FORMS: { readonly [K in LinkMessage['kind']]: Form<Extract<LinkMessage, { kind: K }>> } = {
  hello: {
    code: 1,
    bytesMax: 16 + TEXT_BYTES_MAX,
    write(writer, { epoch, life, machine }) {
      writer.u32(MAGIC)
      writer.u16(LINK_VERSION)
      writer.u32(epoch)
      writer.u32(life)
      writeText(writer, machine)
    },
    read(reader) {
      if (reader.u32() !== MAGIC) throw reader.error('not a hello of a gateway link', 0)
      const version = reader.u16()
      if (version !== LINK_VERSION) {
        throw reader.error(`a link of version ${version}, this program speaks ${LINK_VERSION}`, 4)
      }
      return { epoch: reader.u32(), life: reader.u32(), machine: readText(reader) }
    },
  },
  output: {
    code: 2,
    bytesMax: HEADER_BYTES + LINK_BYTES_MAX,
    write(writer, { port, ordinal, bytes }) {
      writer.u16(port)
      writer.u64(ordinal)
      writer.bytes(bytes)
    },
    read: (reader) => ({ port: readPort(reader), ordinal: reader.u64(), bytes: readRest(reader) }),
  },
  hold: {
    code: 3,
    bytesMax: 1,
    write: (writer, { isHeld }) => writer.u8(isHeld ? 1 : 0),
    read(reader) {
      const flag = reader.u8()
      if (flag > 1) throw reader.error(`a flag of ${flag}`, 0)
      return { isHeld: flag === 1 }
    },
  },
  welcome: {
    code: 4,
    bytesMax: 2 + PORTS_MAX * HEADER_BYTES,
    write(writer, { left }) {
      assert(left.length <= PORTS_MAX, `${left.length} ports`)
      writer.u16(left.length)
      for (const { port, ordinal } of left) {
        writer.u16(port)
        writer.u64(ordinal)
      }
    },
    read: (reader) => ({
      left: Array.from({ length: reader.u16() }, () => ({ port: readPort(reader), ordinal: reader.u64() })),
    }),
  },
  refused: {
    code: 5,
    bytesMax: 2 + TEXT_BYTES_MAX,
    write: (writer, { reason }) => writeText(writer, reason),
    read: (reader) => ({ reason: readText(reader) }),
  },
  left: {
    code: 6,
    bytesMax: HEADER_BYTES,
    write(writer, { port, ordinal }) {
      writer.u16(port)
      writer.u64(ordinal)
    },
    read: (reader) => ({ port: readPort(reader), ordinal: reader.u64() }),
  },
  input: {
    code: 7,
    bytesMax: 2 + LINK_BYTES_MAX,
    write(writer, { port, bytes }) {
      writer.u16(port)
      writer.bytes(bytes)
    },
    read: (reader) => ({ port: readPort(reader), bytes: readRest(reader) }),
  },
}

const KINDS = new Map(
  (Object.keys(FORMS) as LinkMessage['kind'][]).map((kind) => [FORMS[kind].code, kind] as const),
)

/** The form of a kind, for whoever has a message of just that kind. */
function formOf(kind: LinkMessage['kind']): Form<LinkMessage> {
  return FORMS[kind] as unknown as Form<LinkMessage>
}

export function linkDecoder(what: string): FrameDecoder {
  return new FrameDecoder(what, HEADER_BYTES + LINK_BYTES_MAX)
}

/** Where contents are put together: one at a time. */
const content = new ByteWriter()

/** The message as it is sent. Its bytes, if it has some, are at most LINK_BYTES_MAX. */
export function encodeLink(message: LinkMessage): Uint8Array {
  const { code, bytesMax, write } = formOf(message.kind)
  content.reset()
  write(content, message)
  assert(content.length <= bytesMax, `a link message '${message.kind}' of ${content.length} bytes`)
  return encodeFrame(code, content.written())
}

/** @throws FormatError if it is no message of the link */
export function decodeLink({ kind: code, reader }: Frame): LinkMessage {
  const kind = KINDS.get(code)
  if (kind === undefined) throw reader.error(`a message of unknown kind ${code}`, 0)
  const { bytesMax, read } = formOf(kind)
  if (reader.remaining > bytesMax) throw reader.error(`a message '${kind}' of ${reader.remaining} bytes`, 0)
  const message = { kind, ...read(reader) } as LinkMessage
  reader.finish()
  return message
}

function writeText(writer: ByteWriter, text: string): void {
  const bytes = encodeAscii(text.replace(/[^ -~]/g, '?').slice(0, TEXT_BYTES_MAX))
  writer.u16(bytes.length)
  writer.bytes(bytes)
}

function readText(reader: ByteReader): string {
  const text = decodeAscii(reader.bytes(reader.u16()))
  if (!/^[ -~]*$/.test(text)) throw reader.error('a text that is not printable')
  return text
}

function readPort(reader: ByteReader): number {
  const port = reader.u16()
  if (port >= PORTS_MAX) throw reader.error(`port ${port}`)
  return port
}

/** A copy, which outlives what it was read from; in Node's pool, as most are short. */
function readRest(reader: ByteReader): Uint8Array {
  const { buffer, byteOffset, length } = Buffer.from(reader.bytes(reader.remaining))
  return new Uint8Array(buffer, byteOffset, length)
}
