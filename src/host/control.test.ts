import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, test } from 'node:test'
import fc from 'fast-check'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { Random } from '../base/prng.ts'
import { ControlClient, type ControlClientEvents } from './control_client.ts'
import {
  ControlError,
  type ControlMessage,
  checkNoParameters,
  controlDecoder,
  decodeControl,
  encodeControl,
} from './control_protocol.ts'
import { type ControlMethod, ControlServer, type ControlSession, controlMethod } from './control_server.ts'
import { encodeFrame } from './frame_stream.ts'

/** Far above what anything here takes on a busy machine. */
const PATIENT_MS = 20_000

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !isSo(); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

interface Setting {
  readonly server: ControlServer
  readonly notices: string[]
  readonly sessions: ControlSession[]
  readonly socket: () => Promise<Socket>
}

/** A control server behind a port of the loopback. */
async function serve(methods: Readonly<Record<string, ControlMethod>> = {}): Promise<Setting> {
  const notices: string[] = []
  const sessions: ControlSession[] = []
  const server = new ControlServer(methods, (line) => notices.push(line))
  const listener = createServer((socket) => sessions.push(server.accept(socket, 'cli')))
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  closers.push(
    () => listener.close(),
    () => server.close(),
  )
  const { port } = listener.address() as { port: number }
  const socket = (): Promise<Socket> =>
    new Promise((resolve) => {
      const opened = connect(port, '127.0.0.1', () => resolve(opened)).on('error', () => {})
      closers.push(() => opened.destroy())
    })
  return { server, notices, sessions, socket }
}

async function ask(setting: Setting, events?: ControlClientEvents): Promise<ControlClient> {
  return new ControlClient(await setting.socket(), events)
}

const sum = controlMethod(
  ({ a, b }: JsonObject) => {
    if (typeof a !== 'number' || typeof b !== 'number') throw new FormatError('a and b must be numbers')
    return { a, b }
  },
  async ({ a, b }) => a + b,
)
const fail = controlMethod(checkNoParameters, async () => {
  throw new UserError('there is no such machine')
})
const never = controlMethod(checkNoParameters, () => new Promise(() => {}))
const long = controlMethod(checkNoParameters, async () => 'x'.repeat(2 << 20))

const codeIs = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ControlError, String(error))
  assert.equal(error.code, code)
  assert.match(error.message, message)
  return true
}

test('each request gets the answer that belongs to it', async () => {
  const waiting: (() => void)[] = []
  const echo = controlMethod(
    (parameters) => parameters,
    (parameters) => new Promise<JsonValue>((resolve) => waiting.push(() => resolve(parameters))),
  )
  const client = await ask(await serve({ echo, sum }))
  const asked = Array.from({ length: 20 }, (_, n) => client.request('echo', { n, text: 'ä\n\u{1f600}' }))
  assert.equal(await client.request('sum', { a: 2, b: 3 }), 5)
  for (const answer of waiting.reverse()) answer()
  assert.deepEqual(
    await Promise.all(asked),
    Array.from({ length: 20 }, (_, n) => ({ n, text: 'ä\n\u{1f600}' })),
  )
})

test('a request that cannot be answered is told why, and the connection lives on', async () => {
  const client = await ask(await serve({ sum, fail, long, never }))
  await assert.rejects(client.request('missing'), codeIs('unknown method', /no method 'missing'/))
  await assert.rejects(client.request('constructor'), codeIs('unknown method', /constructor/))
  await assert.rejects(client.request('sum', { a: 1 }), codeIs('bad parameters', /a and b must be numbers/))
  await assert.rejects(client.request('fail', { a: 1 }), codeIs('bad parameters', /there are no parameters/))
  await assert.rejects(client.request('fail'), codeIs('failed', /there is no such machine/))
  await assert.rejects(client.request('long'), codeIs('too long', /result/))
  await assert.rejects(client.request('sum', { a: 'x'.repeat(2 << 20) }), codeIs('too long', /parameters/))
  await assert.rejects(client.request('never', {}, { timeoutMs: 20 }), codeIs('timeout', /within 20 ms/))
  assert.equal(await client.request('sum', { a: 2, b: 3 }), 5)
})

test('no more requests wait than the bound, at either end', async () => {
  const setting = await serve({ never, sum })
  const client = await ask(setting)
  for (let i = 0; i < 64; i++)
    client.request('never', {}, { timeoutMs: Number.POSITIVE_INFINITY }).catch(() => {})
  await assert.rejects(client.request('sum', { a: 1, b: 1 }), codeIs('busy', /64 requests/))
  const socket = await setting.socket()
  let text = ''
  socket.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1')
  })
  for (let id = 0; id < 65; id++) {
    socket.write(encodeControl({ kind: 'request', id, method: 'never', parameters: {} })!)
  }
  await until('an answer', () => text.includes('under way'))
  assert.match(
    text,
    /^.{5}\{"id":64,"error":\{"message":"64 requests are under way already","code":"busy"\}\}$/s,
  )
})

test('events and console bytes go both ways in order, and a closed connection rejects what waits', async () => {
  const setting = await serve({ never })
  const said: string[] = []
  const client = await ask(setting, {
    onEvent: (event, data) => said.push(`${event} ${JSON.stringify(data)}`),
    onBytes: (channel, bytes) => said.push(`${channel}: ${bytes.length}`),
    onClose: (reason) => said.push(reason),
  })
  await until('accepted', () => setting.sessions.length === 1)
  const session = setting.sessions[0]!
  const heard: number[] = []
  session.onBytes((channel, bytes) => heard.push(channel, ...bytes))
  session.event('status', { role: 'primary' })
  session.bytes(4, new Uint8Array(100_000))
  client.bytes(7, Uint8Array.from([1, 0, 255]))
  await until('bytes', () => heard.length === 4 && said.length === 3)
  assert.deepEqual(heard, [7, 1, 0, 255])
  const waiting = client.request('never')
  let closed = 0
  session.onClose(() => closed++)
  session.close()
  await assert.rejects(waiting, codeIs('closed', /the connection is closed/))
  assert.deepEqual(said.slice(0, 3), ['status {"role":"primary"}', '4: 65536', '4: 34464'])
  // Which it is depends on whether the request had been read.
  assert.match(said.slice(3).join(), /^(closed by the other side|the connection broke)$/)
  assert.equal(closed, 1)
  await assert.rejects(client.request('never'), codeIs('closed', /the connection is closed/))
  assert.deepEqual(setting.notices, [])
  assert.equal(setting.server.sessions.size, 0)
})

const text = (json: string): Uint8Array => encodeFrame(1, Buffer.from(json))
const hostile: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['a length of 4 GiB', Uint8Array.from([255, 255, 255, 255, 1]), /byte 0: a frame of 4294967295 bytes/],
  ['a length of one byte too many', Uint8Array.from([2, 0, 16, 0, 1]), /a frame of 1048578 bytes/],
  ['no kind', new Uint8Array(4), /a frame of 0 bytes/],
  ['an unknown kind', encodeFrame(9), /unknown kind 9/],
  ['no JSON', text('{'), /not a JSON object/],
  ['an array', text('[]'), /not a JSON object/],
  ['a request without number', text('{"method":"sum","parameters":{}}'), /no number of a request/],
  ['a request without parameters', text('{"id":1,"method":"sum"}'), /no parameters/],
  ['a method that is no name', text('{"id":1,"method":"a b","parameters":{}}'), /no name of a method/],
  ['unknown fields', text('{"id":1,"method":"sum","parameters":{},"more":1}'), /unknown fields/],
  ['an answer', text('{"id":1,"result":2}'), /unexpected message 'result'/],
  ['bytes nobody wants', encodeFrame(2, new Uint8Array(6)), /unexpected message 'bytes'/],
  ['bytes without a channel', encodeFrame(2, new Uint8Array(3)), /cut off/],
]

for (const [what, bytes, reason] of hostile) {
  test(`a peer that sends ${what} is cut off with a notice, and nobody else is`, async () => {
    const setting = await serve({ sum })
    const other = await ask(setting)
    const socket = await setting.socket()
    const closed = new Promise((resolve) => socket.resume().on('close', resolve))
    socket.write(bytes)
    await closed
    assert.equal(setting.notices.length, 1)
    assert.match(setting.notices[0]!, reason)
    assert.equal(await other.request('sum', { a: 2, b: 3 }), 5)
  })
}

test('a peer that does not read what it is sent is cut off', async () => {
  const setting = await serve({ sum })
  const socket = await setting.socket()
  socket.pause()
  await until('accepted', () => setting.sessions.length === 1)
  const session = setting.sessions[0]!
  for (let i = 0; i < 1000 && !session.isClosed; i++) session.bytes(1, new Uint8Array(60_000))
  assert.ok(session.isClosed)
  assert.match(setting.notices.join(), /it does not read what it is sent/)
})

test('JSON nested as deep as it can be ends in an error and nothing worse', async () => {
  const setting = await serve({ sum })
  const client = await ask(setting)
  const socket = await setting.socket()
  const depth = 500_000
  socket.write(text(`{"id":1,"method":"sum","parameters":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`))
  await new Promise((resolve) => socket.once('data', resolve))
  assert.equal(await client.request('sum', { a: 2, b: 3 }), 5)
})

test('a client drops a server that sends nonsense, and its requests are rejected', async () => {
  const messages: readonly (readonly [Uint8Array, RegExp])[] = [
    [encodeControl({ kind: 'result', id: 99, result: 1 })!, /request 99, which was never made/],
    [encodeControl({ kind: 'request', id: 1, method: 'm', parameters: {} })!, /asks instead of answering/],
    [text('nonsense'), /not a JSON object/],
  ]
  for (const [bytes, reason] of messages) {
    const listener = createServer((socket) => socket.on('error', () => {}).write(bytes))
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    closers.push(() => listener.close())
    const socket = connect((listener.address() as { port: number }).port, '127.0.0.1')
    await assert.rejects(new ControlClient(socket).request('sum'), codeIs('closed', reason))
  }
})

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/)
const id = fc.nat()
const json = fc.jsonValue().filter((value) => JSON.stringify(value) !== undefined) as fc.Arbitrary<JsonValue>
const flat = { noNullPrototype: true } as const
const parameters = fc.dictionary(name, json, flat) as fc.Arbitrary<JsonObject>
const kind = <K extends string>(value: K) => fc.constant(value)
const message: fc.Arbitrary<ControlMessage> = fc.oneof(
  fc.record({ kind: kind('request'), id, method: name, parameters }, flat),
  fc.record({ kind: kind('result'), id, result: json }, flat),
  fc.record({ kind: kind('error'), id, message: fc.string(), code: fc.string() }, flat),
  fc.record({ kind: kind('event'), event: name, data: json }, flat),
  fc.record({ kind: kind('bytes'), channel: fc.nat(0xffff_ffff), bytes: fc.uint8Array() }, flat),
)

test('messages come back as they were, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), fc.nat(), (sent, seed) => {
      const random = new Random(seed)
      const stream = Buffer.concat(sent.map((one) => encodeControl(one)!))
      const decoder = controlDecoder('stream')
      const found: ControlMessage[] = []
      for (let at = 0; at < stream.length; ) {
        const end = Math.min(stream.length, at + random.between(1, 40))
        decoder.push(stream.subarray(at, end))
        at = end
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          found.push(decodeControl(frame))
        }
      }
      // JSON has no minus zero.
      const plain = (list: readonly ControlMessage[]): unknown =>
        list.map((one) => (one.kind === 'bytes' ? one : JSON.parse(JSON.stringify(one))))
      assert.deepEqual(plain(found), plain(sent))
    }),
  )
})

test('random bytes are a FormatError or wait for more', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isFramed) => {
      const decoder = controlDecoder('stream')
      decoder.push(isFramed ? encodeFrame(bytes[0] ?? 1, bytes.subarray(1)) : bytes)
      try {
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) decodeControl(frame)
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
      }
    }),
    { numRuns: 500 },
  )
})
