import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { afterEach, test } from 'node:test'
import { Random } from '../base/prng.ts'
import { openCredentials } from '../host/secure_credentials.ts'
import { dialSecure } from '../host/secure_dial.ts'
import { listenSecure } from '../host/secure_listener.ts'
import { LinkClient, type LinkIdentity, type LinkOutput } from './link_client.ts'
import { decodeLink, encodeLink, type LinkMessage, linkDecoder } from './link_codec.ts'
import { assertBytes, closeAll, closers, Gateway, PATIENT_MS, Primary, until } from './testing/link_ends.ts'

const CONSOLE = 1
const NET = 2

afterEach(closeAll)

const good: LinkMessage = { kind: 'hello', epoch: 1, life: 1, machine: 'vm' }
const frame = (ordinal: number, text = `frame ${ordinal}`): LinkOutput => ({
  port: NET,
  ordinal: BigInt(ordinal),
  bytes: Buffer.from(text),
})
const typed = (ordinal: number, bytes: readonly number[]): LinkOutput => ({
  port: CONSOLE,
  ordinal: BigInt(ordinal),
  bytes: Uint8Array.from(bytes),
})

test('frames and console bytes go to the gateway, inputs to the guest, and what has left is told', async () => {
  const gateway = await new Gateway().open()
  const primary = await (await gateway.primary()).isUp()
  assert.deepEqual(primary.up, [])
  primary.client.put(frame(1))
  primary.client.put(typed(3, [1, 2, 3]))
  primary.client.put(frame(2))
  await until('left', () => primary.left.get(NET) === 2n && primary.left.get(CONSOLE) === 3n)
  assert.deepEqual(gateway.frames, ['frame 1', 'frame 2'])
  assert.deepEqual(gateway.console, [1, 2, 3])
  assert.ok(gateway.server.input(NET, Buffer.from('hello')))
  assert.ok(gateway.server.input(CONSOLE, Buffer.from('keys')))
  await until('inputs', () => primary.inputs.length === 2)
  assert.deepEqual(primary.inputs, ['2 hello', '1 keys'])
  assert.deepEqual(gateway.said, ['hostA attached, 1 1'])
})

test('a link over a secure channel carries what a plain one does', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'link-'))
  closers.push(() => rmSync(folder, { recursive: true }))
  const credentials = await openCredentials({ secretFile: join(folder, 'secret') })
  const gateway = new Gateway()
  const listener = await listenSecure({
    ...{ credentials, name: 'gateway', host: '127.0.0.1', port: 0 },
    services: {
      gateway: { terms: () => ({}), accept: (stream, { name }) => gateway.server.accept(stream, name) },
    },
    onNotice: (line) => gateway.said.push(line),
  })
  closers.push(() => listener.close())
  const stream = await new Promise<Socket>((opened) => {
    const to = { peerName: 'gateway', host: '127.0.0.1', port: listener.port, service: 'gateway' } as const
    dialSecure(
      { ...to, credentials, name: 'hostB', terms: {}, timeoutMs: PATIENT_MS },
      { opened, failed: ({ reason }) => assert.fail(reason) },
    )
  })
  const primary = await new Primary(stream, {}).isUp()
  for (let ordinal = 1; ordinal <= 300; ordinal++) {
    primary.client.put(frame(ordinal, `${ordinal}`.padEnd(1514, '.')))
    gateway.server.input(NET, Buffer.alloc(1514, ordinal & 0xff))
  }
  await until('left', () => primary.left.get(NET) === 300n)
  await until('inputs', () => primary.inputs.length === 300)
  assert.deepEqual(
    gateway.frames.map((text) => text.replace(/\.+$/, '')),
    Array.from({ length: 300 }, (_, i) => `${i + 1}`),
  )
  assert.deepEqual(gateway.said, ['hostB attached, 1 1'])
})

test('what a turn puts out is confirmed once', async () => {
  const gateway = await new Gateway().open()
  const primary = await (await gateway.primary()).isUp()
  let confirmations = 0
  primary.left.set = (port, ordinal) => {
    confirmations++
    return Map.prototype.set.call(primary.left, port, ordinal)
  }
  for (let ordinal = 1; ordinal <= 100; ordinal++) primary.client.put(frame(ordinal))
  await until('left', () => primary.left.get(NET) === 100n)
  assert.ok(confirmations < 10, `${confirmations} confirmations`)
})

test('a console output of any length goes in pieces, and only the rest of it a second time', async () => {
  const gateway = await new Gateway().open()
  const bytes = [...new Random(3).bytes(300_000)]
  const first = await (await gateway.primary()).isUp()
  first.client.put(typed(200_000, bytes.slice(0, 200_000)))
  await until('left', () => first.left.get(CONSOLE) === 200_000n)
  const second = await (await gateway.primary({ epoch: 2 })).isUp()
  assert.deepEqual(second.up, [{ port: CONSOLE, ordinal: 200_000n }])
  second.client.put(typed(300_000, bytes))
  await until('left', () => second.left.get(CONSOLE) === 300_000n)
  assertBytes(gateway.console, bytes)
})

test('a lower epoch is refused with both, and so are a lower life and another machine', async () => {
  const gateway = await new Gateway().open()
  const primary = await (await gateway.primary({ epoch: 7, life: 3 })).isUp()
  const refused = async (identity: Partial<LinkIdentity>): Promise<string> =>
    (await gateway.primary(identity)).isDown()
  assert.equal(await refused({ epoch: 6, life: 3 }), 'refused: epoch 6 is superseded by 7')
  assert.equal(await refused({ epoch: 8, life: 2 }), 'refused: life 2 is superseded by 3')
  assert.equal(await refused({ machine: 'other', epoch: 9 }), 'refused: this gateway serves vm, not other')
  primary.client.put(frame(1))
  await until('left', () => primary.left.get(NET) === 1n)
  assert.equal(
    gateway.said.filter((line) => line.startsWith('notice: gateway link of hostA: refused')).length,
    3,
  )
})

test('a higher epoch takes the place of the link that is there, and nothing of that is taken any more', async () => {
  const gateway = await new Gateway().open()
  const older = await (await gateway.primary()).isUp()
  older.client.put(frame(1))
  await until('left', () => older.left.get(NET) === 1n)
  const newer = await (await gateway.primary({ epoch: 2 })).isUp()
  older.client.put(frame(2, 'too late'))
  assert.equal(await older.isDown(), 'refused: epoch 1 is superseded by 2')
  newer.client.put(frame(1))
  newer.client.put(frame(2))
  await until('left', () => newer.left.get(NET) === 2n)
  assert.deepEqual(gateway.frames, ['frame 1', 'frame 2'])
  assert.deepEqual(gateway.said, [
    'hostA attached, 1 1',
    'detached: epoch 1 is superseded by 2',
    'hostA attached, 2 1',
  ])
})

test('a new life counts anew', async () => {
  const gateway = await new Gateway().open()
  const older = await (await gateway.primary()).isUp()
  older.client.put(typed(2, [1, 2]))
  await until('left', () => older.left.get(CONSOLE) === 2n)
  const newer = await (await gateway.primary({ epoch: 2, life: 2 })).isUp()
  assert.deepEqual(newer.up, [])
  newer.client.put(typed(2, [3, 4]))
  await until('left', () => newer.left.get(CONSOLE) === 2n)
  assert.deepEqual(gateway.console, [1, 2, 3, 4])
})

test('a new life that begins before an output of the old one is confirmed hears nothing of that', async () => {
  const { server, frames } = new Gateway()
  const written: Buffer[] = []
  const [older, newer] = [0, 1].map(
    () =>
      new Duplex({
        read() {},
        write(bytes: Buffer, _encoding, done) {
          written.push(bytes)
          done()
        },
      }),
  )
  server.accept(older!, 'hostA')
  server.accept(newer!, 'hostB')
  // All within one turn.
  older!.emit('data', encodeLink(good))
  older!.emit('data', encodeLink({ kind: 'output', ...frame(1) }))
  newer!.emit('data', encodeLink({ ...good, epoch: 2, life: 2 }))
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(frames, ['frame 1'])
  const decoder = linkDecoder('gateway')
  decoder.push(Buffer.concat(written))
  const kinds: string[] = []
  for (let next = decoder.next(); next !== undefined; next = decoder.next()) kinds.push(decodeLink(next).kind)
  assert.deepEqual(kinds.toSorted(), ['refused', 'welcome', 'welcome'])
  server.close()
})

test('outputs that are put while the link is not up are dropped', async () => {
  const gateway = await new Gateway().open()
  const primary = await gateway.primary()
  primary.client.put(frame(1, 'too early'))
  await primary.isUp()
  primary.client.put(frame(1))
  await until('left', () => primary.left.get(NET) === 1n)
  primary.client.close()
  primary.client.put(frame(2, 'too late'))
  await until('detached', () => !gateway.server.isAttached)
  assert.deepEqual(gateway.frames, ['frame 1'])
  assert.equal(primary.down, undefined)
})

test('inputs are lost while nobody is attached, and counted', async () => {
  const gateway = await new Gateway().open()
  assert.equal(gateway.server.input(NET, Buffer.from('lost')), false)
  assert.equal(gateway.server.droppedInputs, 1)
  await (await gateway.primary()).isUp()
  assert.deepEqual(gateway.said, ['hostA attached, 1 1', 'ready'])
})

test('inputs are lost above the bound when the primary does not read, and are taken again after that', async () => {
  const gateway = await new Gateway({ unsentBytesMax: 1 << 20 }).open()
  const primary = await (await gateway.primary()).isUp()
  primary.socket.pause()
  const piece = Buffer.alloc(60_000, 'x')
  let sent = 0
  for (let i = 0; i < 1000; i++) {
    if (gateway.server.input(NET, piece)) sent++
    if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(gateway.server.droppedInputs > 0)
  assert.ok(gateway.sockets[0]!.writableLength <= 1 << 20)
  primary.socket.resume()
  await until('ready', () => gateway.said.includes('ready'))
  await until('all', () => primary.inputs.length === sent)
  assert.ok(gateway.server.input(NET, piece))
})

test('a primary that holds inputs still hears what has left, and gets the inputs later in order', async () => {
  const gateway = await new Gateway().open()
  const primary = await (await gateway.primary()).isUp()
  gateway.server.input(NET, Buffer.from('a'))
  await until('input', () => primary.inputs.length === 1)
  primary.client.holdInput(true)
  // On its way before the gateway has heard of it.
  assert.ok(gateway.server.input(NET, Buffer.from('b')))
  primary.client.put(frame(1))
  await until('left', () => primary.left.get(NET) === 1n)
  assert.equal(gateway.server.input(NET, Buffer.from('lost')), false)
  assert.deepEqual(primary.inputs, ['2 a'])
  primary.client.holdInput(false)
  assert.deepEqual(primary.inputs, ['2 a', '2 b'])
  await until('ready', () => gateway.said.includes('ready'))
  gateway.server.input(NET, Buffer.from('c'))
  await until('input', () => primary.inputs.length === 3)
  assert.deepEqual(primary.inputs, ['2 a', '2 b', '2 c'])
  primary.client.holdInput(true)
  primary.client.holdInput(false)
  primary.client.put(frame(2))
  await until('left', () => primary.left.get(NET) === 2n)
  assert.equal(gateway.said.filter((line) => line === 'ready').length, 1, 'ready, though nothing was refused')
})

const output = (port: number, ordinal: bigint, length: number): LinkMessage => ({
  ...{ kind: 'output', port, ordinal },
  bytes: new Uint8Array(length),
})
const faults: readonly (readonly [string, readonly (LinkMessage | Uint8Array)[], RegExp])[] = [
  ['a gap in the frames', [good, output(NET, 5n, 9), output(NET, 7n, 9)], /output 7 of port 2 follows 5/],
  [
    'a gap in the console',
    [good, output(CONSOLE, 5n, 5), output(CONSOLE, 9n, 3)],
    /output 9 of port 1 follows 5/,
  ],
  ['more bytes than its ordinal', [good, output(CONSOLE, 4n, 5)], /output 4 of port 1/],
  ['no bytes', [good, output(CONSOLE, 4n, 0)], /output 4 of port 1/],
  ['frame 0', [good, output(NET, 0n, 60)], /output 0 of port 2/],
  ['a second hello', [good, good], /unexpected message 'hello'/],
  ["the gateway's own words", [good, { kind: 'left', port: 1, ordinal: 1n }], /unexpected message 'left'/],
  ['an output before its hello', [output(NET, 1n, 60)], /'output' before a hello/],
  ['garbage', [new Random(7).bytes(5000)], /a frame of \d+ bytes/],
  ['garbage later', [good, new Random(7).bytes(5000)], /a frame of \d+ bytes/],
]

for (const [what, sent, reason] of faults) {
  test(`a link that sends ${what} is closed with a notice, and the next one attaches`, async () => {
    const gateway = await new Gateway().open()
    const socket = await gateway.socket()
    const closed = new Promise((resolve) => socket.resume().on('close', resolve))
    for (const one of sent) socket.write(one instanceof Uint8Array ? one : encodeLink(one))
    await closed
    assert.match(gateway.said.filter((line) => line.startsWith('notice')).join(), reason)
    const primary = await (await gateway.primary()).isUp()
    primary.client.put(frame(100))
    await until('left', () => primary.left.get(NET) === 100n)
  })
}

test('links that wait are bounded: the oldest gives way, and the others are taken when they say hello', async () => {
  const gateway = await new Gateway().open()
  const silent = await Promise.all(Array.from({ length: 12 }, () => gateway.socket()))
  let open = silent.length
  for (const socket of silent) socket.resume().on('close', () => open--)
  await until('fewer', () => open <= 8)
  const waiting = await gateway.waiting()
  await (await gateway.primary({ epoch: 2 })).isUp()
  waiting.hello({ epoch: 3 })
  await waiting.isUp()
  assert.match(gateway.said.join(), /epoch 2 is superseded by 3/)
})

test('a client that waits hears of a link that breaks', async () => {
  const gateway = await new Gateway().open()
  const waiting = await gateway.waiting()
  gateway.server.close()
  assert.match(await waiting.isDown(), /closed/)
})

test('a client goes down when the gateway sends what it must not, or is silent', async () => {
  const answers: readonly (readonly [readonly (LinkMessage | Uint8Array)[], RegExp])[] = [
    [[{ kind: 'input', port: 2, bytes: new Uint8Array(4) }], /'input' before a welcome/],
    [[{ kind: 'welcome', left: [] }, good], /unexpected message 'hello'/],
    [[new Random(9).bytes(1000)], /a frame of \d+ bytes/],
    [[], /no welcome within 300 ms/],
  ]
  for (const [sent, reason] of answers) {
    const listener = createServer((socket) => {
      socket.on('error', () => {}).resume()
      for (const one of sent) socket.write(one instanceof Uint8Array ? one : encodeLink(one))
    })
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    closers.push(() => listener.close())
    const socket = connect((listener.address() as { port: number }).port, '127.0.0.1')
    const down = await new Promise<string>((onDown) => {
      const events = { onUp: () => {}, onLeft: () => {}, onInput: () => {}, onDown }
      new LinkClient(socket, events, 300).hello({ machine: 'vm', epoch: 1, life: 1 })
    })
    assert.match(down, reason)
  }
})
