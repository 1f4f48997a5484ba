/**
 * Messages as bytes on a channel.
 *
 *      0  magic "ULM1"      u32       12  payload checksum  u32, CRC-32C
 *      4  version           u16       16  header checksum   u32, CRC-32C of bytes 0 to 15
 *      6  kind              u16       20  payload
 *      8  payload bytes     u32
 *
 * The header has a checksum of its own, since its length is believed before the payload is there; each kind has a
 * limit of its own, checked before anything is waited for. Numbers in payloads are varints, except digests; texts and
 * bytes have their length before them. A decoder consumes a payload wholly or refuses it: a fault ends the channel.
 */
import { assert } from '../base/assert.ts'
import { ByteQueue, ByteReader, ByteWriter } from '../base/bytes.ts'
import { crc32c } from '../base/crc32c.ts'
import { FormatError } from '../base/errors.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import { BATCH_HEADER_BYTES, MAX_PAYLOAD_BYTES } from '../log/batch.ts'
import { MAX_PORT } from '../log/codec.ts'
import { isName, type MemberIdentity } from './configuration.ts'
import { EXECUTION_STATES, type JoinResume, type Message, type PortOrdinal } from './message.ts'

/** The first four bytes of a message, "ULM1". */
const MAGIC = 0x314d_4c55
/** Raised with every change of a message: both sides run the same software or do not talk. */
const VERSION = 2
export const MESSAGE_HEADER_BYTES = 20
/** The longest chunk of a joining copy's image. */
export const MAX_CHUNK_BYTES = 4 << 20
/** The longest output: above any frame and any stretch of console output. */
export const MAX_OUTPUT_BYTES = 4 << 20
/** The most that a copy can say of itself where it differs (board/evidence.ts). */
export const MAX_EVIDENCE_BYTES = 1 << 20
const MAX_TEXT_BYTES = 64 << 10
const MAX_PORTS = 1024
/** Room for a message's numbers and names. */
const SMALL = 4 << 10

/** How the payload of a kind is written and read. */
interface Form<M extends Message> {
  readonly code: number
  readonly maxBytes: number
  readonly write: (writer: ByteWriter, message: M) => void
  readonly read: (reader: ByteReader) => Omit<M, 'kind'>
}

type Forms = { readonly [K in Message['kind']]: Form<Extract<Message, { kind: K }>> }

const FORMS: Forms = {
  hello: {
    code: 1,
    maxBytes: SMALL,
    write(writer, { machine, host, incarnation }) {
      for (const text of [machine, host, incarnation]) writeText(writer, text)
    },
    read: (reader) => ({ machine: readText(reader), host: readName(reader), incarnation: readName(reader) }),
  },
  join: {
    code: 2,
    maxBytes: SMALL,
    write(writer, { member, baseGeneration, resume }) {
      writeMember(writer, member)
      writeOptional(writer, baseGeneration, writeText)
      writeOptional(writer, resume, writeResume)
    },
    read: (reader) => ({
      member: readMember(reader),
      baseGeneration: readOptional(reader, readName),
      resume: readOptional(reader, readResume),
    }),
  },
  joinStart: {
    code: 3,
    maxBytes: SMALL + MAX_PORTS * 16,
    write(writer, { join, epoch, life, nextIndex, position, released }) {
      for (const number of [join, epoch, life]) writer.varint(number)
      writer.varint64(nextIndex)
      writer.varint64(position)
      writePortOrdinals(writer, released)
    },
    read: (reader) => ({
      join: readU32(reader),
      epoch: readU32(reader),
      life: readU32(reader),
      nextIndex: reader.varint64(),
      position: reader.varint64(),
      released: readPortOrdinals(reader),
    }),
  },
  pendingOutput: {
    code: 4,
    maxBytes: SMALL + MAX_OUTPUT_BYTES,
    write(writer, { join, port, ordinal, index, bytes }) {
      writer.varint(join)
      writer.varint(port)
      writer.varint64(ordinal)
      writer.varint64(index)
      writeBytes(writer, bytes, MAX_OUTPUT_BYTES)
    },
    read: (reader) => ({
      join: readU32(reader),
      port: reader.varint(MAX_PORT),
      ordinal: reader.varint64(),
      index: reader.varint64(),
      bytes: readBytes(reader, MAX_OUTPUT_BYTES),
    }),
  },
  chunk: {
    code: 5,
    maxBytes: SMALL + MAX_CHUNK_BYTES,
    write(writer, { join, number, isLast, bytes }) {
      writer.varint(join)
      writer.varint(number)
      writeFlag(writer, isLast)
      writeBytes(writer, bytes, MAX_CHUNK_BYTES)
    },
    read: (reader) => ({
      join: readU32(reader),
      number: readU32(reader),
      isLast: readFlag(reader),
      bytes: readBytes(reader, MAX_CHUNK_BYTES),
    }),
  },
  chunkAck: {
    code: 6,
    maxBytes: SMALL,
    write(writer, { join, next }) {
      writer.varint(join)
      writer.varint(next)
    },
    read: (reader) => ({ join: readU32(reader), next: readU32(reader) }),
  },
  installed: {
    code: 7,
    maxBytes: SMALL,
    write: (writer, { join }) => writer.varint(join),
    read: (reader) => ({ join: readU32(reader) }),
  },
  follow: {
    code: 8,
    maxBytes: SMALL,
    write(writer, { epoch, nextIndex }) {
      writer.varint(epoch)
      writer.varint64(nextIndex)
    },
    read: (reader) => ({ epoch: readU32(reader), nextIndex: reader.varint64() }),
  },
  refused: {
    code: 9,
    maxBytes: SMALL + MAX_TEXT_BYTES,
    write: (writer, { reason }) => writeText(writer, reason),
    read: (reader) => ({ reason: readText(reader) }),
  },
  batch: {
    code: 10,
    maxBytes: BATCH_HEADER_BYTES + MAX_PAYLOAD_BYTES,
    // The batch says itself how long it is, and has checksums of its own.
    write: (writer, { bytes }) => writer.bytes(bytes),
    read: (reader) => ({ bytes: new Uint8Array(reader.bytes(reader.remaining)) }),
  },
  ack: {
    code: 11,
    maxBytes: SMALL,
    write(writer, { epoch, incarnation, received, executed }) {
      writer.varint(epoch)
      writeText(writer, incarnation)
      writer.varint64(received)
      writer.varint64(executed)
    },
    read: (reader) => ({
      epoch: readU32(reader),
      incarnation: readText(reader),
      received: reader.varint64(),
      executed: reader.varint64(),
    }),
  },
  heartbeat: {
    code: 12,
    maxBytes: SMALL,
    write(writer, { state, position }) {
      writer.u8(EXECUTION_STATES.indexOf(state))
      writer.varint64(position)
    },
    read: (reader) => ({ state: readState(reader), position: reader.varint64() }),
  },
  configured: {
    code: 13,
    maxBytes: SMALL,
    write: (writer, { epoch }) => writer.varint(epoch),
    read: (reader) => ({ epoch: readU32(reader) }),
  },
  diverged: {
    code: 14,
    maxBytes: SMALL + MAX_TEXT_BYTES + MAX_EVIDENCE_BYTES,
    write(writer, { index, report, evidence }) {
      writer.varint64(index)
      writeText(writer, report)
      writeOptional(writer, evidence, writeEvidence)
    },
    read: (reader) => ({
      index: reader.varint64(),
      report: readText(reader),
      evidence: readOptional(reader, readEvidence),
    }),
  },
  yield: {
    code: 15,
    maxBytes: SMALL + MAX_TEXT_BYTES,
    write: (writer, { reason }) => writeText(writer, reason),
    read: (reader) => ({ reason: readText(reader) }),
  },
  confirm: {
    code: 16,
    maxBytes: SMALL,
    write: (writer, { incarnation }) => writeText(writer, incarnation),
    read: (reader) => ({ incarnation: readText(reader) }),
  },
  confirmed: {
    code: 17,
    maxBytes: SMALL,
    write(writer, { incarnation, isDead }) {
      writeText(writer, incarnation)
      writeFlag(writer, isDead)
    },
    read: (reader) => ({ incarnation: readText(reader), isDead: readFlag(reader) }),
  },
}

const KINDS = new Map(
  (Object.keys(FORMS) as Message['kind'][]).map((kind) => [FORMS[kind].code, kind] as const),
)

/** The form of a kind, for whoever has a message of just that kind. */
function formOf(kind: Message['kind']): Form<Message> {
  return FORMS[kind] as unknown as Form<Message>
}

/** Where messages are put together: one is written at a time, and most are so short that memory would cost the most. */
const header = new ByteWriter(MESSAGE_HEADER_BYTES)
const payload = new ByteWriter(SMALL)

/** A message as it goes over a channel. */
export function encodeMessage(message: Message): Uint8Array {
  const { code, maxBytes, write } = formOf(message.kind)
  payload.reset()
  write(payload, message)
  assert(payload.length <= maxBytes, `a message '${message.kind}' of ${payload.length} bytes`)
  header.reset()
  header.u32(MAGIC)
  header.u16(VERSION)
  header.u16(code)
  header.u32(payload.length)
  header.u32(crc32c(payload.written()))
  header.u32(crc32c(header.written()))
  const bytes = new Uint8Array(MESSAGE_HEADER_BYTES + payload.length)
  bytes.set(header.written())
  bytes.set(payload.written(), MESSAGE_HEADER_BYTES)
  return bytes
}

interface Header {
  readonly kind: Message['kind']
  readonly payloadBytes: number
  readonly payloadChecksum: number
}

/** Takes a channel's bytes in arbitrary pieces: `push` what arrives, then call `next` until it has none. */
export class MessageDecoder {
  readonly #what: string
  readonly #queue = new ByteQueue()
  #header: Header | undefined
  #fault: FormatError | undefined

  /** `what` names the channel in errors. */
  constructor(what: string) {
    this.#what = what
  }

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  /**
   * The next whole message, or undefined until more has arrived.
   * @throws FormatError at damage, each time again: nothing behind it can be believed
   */
  next(): Message | undefined {
    if (this.#fault !== undefined) throw this.#fault
    try {
      return this.#next()
    } catch (error) {
      if (error instanceof FormatError) this.#fault = error
      throw error
    }
  }

  #next(): Message | undefined {
    if (this.#header === undefined) {
      const bytes = this.#queue.peek(MESSAGE_HEADER_BYTES)
      if (bytes === undefined) return undefined
      this.#header = parseHeader(new ByteReader(bytes, this.#what, this.#queue.offset), bytes)
    }
    const { kind, payloadBytes, payloadChecksum } = this.#header
    const whole = this.#queue.peek(MESSAGE_HEADER_BYTES + payloadBytes)
    if (whole === undefined) return undefined
    const payload = whole.subarray(MESSAGE_HEADER_BYTES)
    const reader = new ByteReader(payload, this.#what, this.#queue.offset + MESSAGE_HEADER_BYTES)
    if (crc32c(payload) !== payloadChecksum) throw reader.error(`a message '${kind}' with a wrong checksum`)
    const message = { kind, ...formOf(kind).read(reader) } as Message
    reader.finish()
    this.#queue.skip(whole.length)
    this.#header = undefined
    return message
  }
}

function parseHeader(reader: ByteReader, bytes: Uint8Array): Header {
  const checksumStart = MESSAGE_HEADER_BYTES - 4
  if (reader.u32() !== MAGIC) throw reader.error('not a message', 0)
  if (new ByteReader(bytes.subarray(checksumStart), '').u32() !== crc32c(bytes.subarray(0, checksumStart))) {
    throw reader.error('a message header with a wrong checksum', 0)
  }
  const version = reader.u16()
  if (version !== VERSION) {
    throw reader.error(`a message of version ${version}, this program speaks ${VERSION}`, 4)
  }
  const kind = KINDS.get(reader.u16())
  if (kind === undefined) throw reader.error('a message of unknown kind', 6)
  const payloadBytes = reader.u32()
  if (payloadBytes > formOf(kind).maxBytes)
    throw reader.error(`a message '${kind}' of ${payloadBytes} bytes`, 8)
  return { kind, payloadBytes, payloadChecksum: reader.u32() }
}

function readU32(reader: ByteReader): number {
  return reader.varint(0xffff_ffff)
}

function writeText(writer: ByteWriter, text: string): void {
  // Reports may quote anything; what is not printable ASCII becomes a question mark.
  const bytes = encodeAscii(text.replace(/[^ -~\n]/g, '?').slice(0, MAX_TEXT_BYTES))
  writeBytes(writer, bytes, MAX_TEXT_BYTES)
}

function readText(reader: ByteReader): string {
  return decodeAscii(readBytes(reader, MAX_TEXT_BYTES))
}

/** A text that may come to stand in a configuration. */
function readName(reader: ByteReader): string {
  const text = readText(reader)
  if (!isName(text)) throw reader.error('a name that cannot be one')
  return text
}

function writeBytes(writer: ByteWriter, bytes: Uint8Array, max: number): void {
  assert(bytes.length <= max, `${bytes.length} bytes where ${max} may be`)
  writer.varint(bytes.length)
  writer.bytes(bytes)
}

/** A copy: what is read from outlives the message in no other way. */
function readBytes(reader: ByteReader, max: number): Uint8Array {
  return new Uint8Array(reader.bytes(reader.varint(max)))
}

function writeEvidence(writer: ByteWriter, evidence: Uint8Array): void {
  writeBytes(writer, evidence, MAX_EVIDENCE_BYTES)
}

function readEvidence(reader: ByteReader): Uint8Array {
  return readBytes(reader, MAX_EVIDENCE_BYTES)
}

function writeFlag(writer: ByteWriter, flag: boolean): void {
  writer.u8(flag ? 1 : 0)
}

function readFlag(reader: ByteReader): boolean {
  const flag = reader.u8()
  if (flag > 1) throw reader.error(`a flag of ${flag}`)
  return flag === 1
}

function writeOptional<T>(
  writer: ByteWriter,
  value: T | undefined,
  write: (writer: ByteWriter, value: T) => void,
): void {
  writeFlag(writer, value !== undefined)
  if (value !== undefined) write(writer, value)
}

function readOptional<T>(reader: ByteReader, read: (reader: ByteReader) => T): T | undefined {
  return readFlag(reader) ? read(reader) : undefined
}

function writeMember(writer: ByteWriter, { host, incarnation, diskGeneration }: MemberIdentity): void {
  for (const text of [host, incarnation, diskGeneration]) writeText(writer, text)
}

function readMember(reader: ByteReader): MemberIdentity {
  return { host: readName(reader), incarnation: readName(reader), diskGeneration: readName(reader) }
}

function writeResume(writer: ByteWriter, { join, nextChunk, nextIndex }: JoinResume): void {
  writer.varint(join)
  writer.varint(nextChunk)
  writer.varint64(nextIndex)
}

function readResume(reader: ByteReader): JoinResume {
  return { join: readU32(reader), nextChunk: readU32(reader), nextIndex: reader.varint64() }
}

function writePortOrdinals(writer: ByteWriter, list: readonly PortOrdinal[]): void {
  assert(list.length <= MAX_PORTS, `${list.length} ports`)
  writer.varint(list.length)
  for (const { port, ordinal } of list) {
    writer.varint(port)
    writer.varint64(ordinal)
  }
}

function readPortOrdinals(reader: ByteReader): PortOrdinal[] {
  const list: PortOrdinal[] = []
  for (let count = reader.varint(MAX_PORTS); count > 0; count--) {
    list.push({ port: reader.varint(MAX_PORT), ordinal: reader.varint64() })
  }
  return list
}

function readState(reader: ByteReader): (typeof EXECUTION_STATES)[number] {
  const state = EXECUTION_STATES[reader.u8()]
  if (state === undefined) throw reader.error('an unknown state of execution')
  return state
}
