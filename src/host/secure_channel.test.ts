import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { Random } from '../base/prng.ts'
import { type Credentials, openCredentials } from './secure_credentials.ts'
import { type DialFailure, type DialOptions, dialSecure } from './secure_dial.ts'
import { encodeHello, type Terms } from './secure_handshake.ts'
import { type ListenerOptions, listenSecure, type Peer, type SecureListener } from './secure_listener.ts'
import { makeAuthority } from './testing/authority.ts'

/** Far above what anything here takes on a busy machine; and, where something must run out, short. */
const PATIENT_MS = 20_000
const HASTY_MS = 300

let folder: string
let secret: Credentials
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'secure-channel-'))
  secret = await openCredentials({ secretFile: join(folder, 'secret') })
})
after(() => rmSync(folder, { recursive: true }))

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

interface Setting {
  readonly listener: SecureListener
  readonly notices: string[]
  readonly accepted: { readonly stream: TLSSocket; readonly peer: Peer }[]
}

/** A listener called hostA with a service 'control' that agrees to `terms`. */
async function listen(options: Partial<ListenerOptions> = {}, terms: Terms = {}): Promise<Setting> {
  const notices: string[] = []
  const accepted: Setting['accepted'] = []
  const listener = await listenSecure({
    credentials: secret,
    name: 'hostA',
    host: '127.0.0.1',
    port: 0,
    services: {
      control: {
        terms: () => terms,
        info: () => ({ port: '17' }),
        accept: (stream, peer) => accepted.push({ stream, peer }),
      },
    },
    onNotice: (line) => notices.push(line),
    handshakeMs: PATIENT_MS,
    ...options,
  })
  closers.push(() => listener.close())
  return { listener, notices, accepted }
}

type Dialled = { readonly stream: TLSSocket; readonly info: Terms } | DialFailure

function dial(port: number, options: Partial<DialOptions> = {}): Promise<Dialled> {
  return new Promise((resolve) => {
    dialSecure(
      {
        credentials: secret,
        name: 'hostB',
        peerName: 'hostA',
        host: '127.0.0.1',
        port,
        service: 'control',
        terms: {},
        timeoutMs: PATIENT_MS,
        ...options,
      },
      {
        opened(stream, info) {
          closers.push(() => stream.destroy())
          resolve({ stream, info })
        },
        failed: resolve,
      },
    )
  })
}

async function opened(port: number, options?: Partial<DialOptions>): Promise<TLSSocket> {
  const outcome = await dial(port, options)
  assert.ok('stream' in outcome, JSON.stringify(outcome))
  return outcome.stream
}

async function reasonOf(port: number, options?: Partial<DialOptions>): Promise<string> {
  const outcome = await dial(port, options)
  assert.ok(!('stream' in outcome), 'opened')
  assert.equal(outcome.isRefused, false)
  return outcome.reason
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !isSo(); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A plain connection to a listener. */
async function plain(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  closers.push(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

async function received(stream: TLSSocket, count: number): Promise<string> {
  let text = ''
  stream.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1')
  })
  await until(`${count} bytes`, () => text.length >= count)
  return text
}

test('two processes open channels to each other, with names that are proved and bytes both ways', async () => {
  const { listener, notices, accepted } = await listen({}, { software: '7' })
  const outcome = await dial(listener.port, { terms: { software: '7' } })
  assert.ok('stream' in outcome, JSON.stringify(outcome))
  assert.deepEqual(outcome.info, { port: '17' })
  assert.equal(outcome.stream.getCipher().name, 'ECDHE-PSK-CHACHA20-POLY1305')
  const { stream, peer } = accepted[0]!
  assert.equal(peer.name, 'hostB')
  assert.deepEqual(peer.hello.terms, { software: '7' })
  outcome.stream.write('ping')
  stream.write('pong!')
  assert.equal(await received(stream, 4), 'ping')
  assert.equal(await received(outcome.stream, 5), 'pong!')
  assert.deepEqual(notices, [])
})

test('bytes that come right behind a handshake are not lost, on either side', async () => {
  const text = 'x'.repeat(100_000)
  const { listener, accepted } = await listen({
    services: {
      control: {
        terms: () => ({}),
        accept(stream, peer) {
          stream.write(text)
          accepted.push({ stream, peer })
        },
      },
    },
  })
  const socket = secret.connect({ name: 'hostB', peerName: 'hostA', host: '127.0.0.1', port: listener.port })
  closers.push(() => socket.destroy())
  const hello = encodeHello({ service: 'control', from: 'hostB', to: 'hostA', terms: {}, info: {} })
  socket.write(Buffer.concat([hello, Buffer.from(text)]))
  await until('accepted', () => accepted.length === 1)
  // A service that looks late must find all of it, too.
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(await received(accepted[0]!.stream, text.length), text)
  assert.equal(await received(await opened(listener.port), text.length), text)
})

test('another secret is refused by both sides, with a notice and a reason', async () => {
  const { listener, notices, accepted } = await listen()
  const other = await openCredentials({ secretFile: join(folder, 'other') })
  assert.match(
    await reasonOf(listener.port, { credentials: other }),
    /hostA at 127\.0\.0\.1 port \d+: the shared secret/,
  )
  await until('a notice', () => notices.length === 1)
  assert.match(notices[0]!, /127\.0\.0\.1:\d+: turned away: the shared secret is not the same/)
  assert.equal(accepted.length, 0)
})

test('a channel to another name than that of the listener does not come about', async () => {
  const { listener, accepted } = await listen()
  assert.match(await reasonOf(listener.port, { peerName: 'hostC' }), /another name was dialled/)
  assert.equal(accepted.length, 0)
})

test('whoever says another name than TLS has proved is refused', async () => {
  const { listener, notices, accepted } = await listen()
  const socket = secret.connect({ name: 'hostB', peerName: 'hostA', host: '127.0.0.1', port: listener.port })
  closers.push(() => socket.destroy())
  socket.write(encodeHello({ service: 'control', from: 'hostC', to: 'hostA', terms: {}, info: {} }))
  assert.match(await received(socket, 60), /whoever calls itself hostC has not proved that it is/)
  assert.match(notices.join(), /turned away: whoever calls itself hostC/)
  assert.equal(accepted.length, 0)
})

test('a connection where no process listens is told as refused, anything else is not', async () => {
  const { listener } = await listen()
  await listener.close()
  const outcome = await dial(listener.port)
  assert.ok(!('stream' in outcome))
  assert.equal(outcome.isRefused, true)
  assert.match(outcome.reason, /no process listens there/)

  const closing = createServer((socket) => socket.destroy())
  closers.push(() => closing.close())
  await once(closing.listen(0, '127.0.0.1'), 'listening')
  await reasonOf((closing.address() as { port: number }).port)
})

test('a listener that says nothing is given up, and one that speaks something else', async () => {
  const silent = createServer(() => {})
  const chatty = createServer((socket) => socket.on('error', () => {}).end('220 mail.example ESMTP\r\n'))
  for (const server of [silent, chatty]) {
    const sockets: Socket[] = []
    server.on('connection', (socket: Socket) => sockets.push(socket))
    closers.push(() => {
      for (const socket of sockets) socket.destroy()
    })
    closers.push(() => server.close())
    await once(server.listen(0, '127.0.0.1'), 'listening')
  }
  const portOf = (server: typeof silent): number => (server.address() as { port: number }).port
  assert.match(await reasonOf(portOf(silent), { timeoutMs: HASTY_MS }), /no answer within 300 ms/)
  assert.match(await reasonOf(portOf(chatty)), /WRONG_VERSION_NUMBER/)
})

test('a term that is not the same is named with both values, and so is one that is missing', async () => {
  const refused: string[] = []
  const onRefused = (...words: string[]): void => void refused.push(words.join(' '))
  const { listener, notices } = await listen({ onRefused }, { image: 'aaa', software: '7' })
  const wrong = await reasonOf(listener.port, { terms: { image: 'aaa', software: '8' } })
  assert.match(wrong, /refused: no agreement on software: hostB has '8', hostA has '7'$/)
  const missing = await reasonOf(listener.port, { terms: { software: '7' } })
  assert.match(missing, /no agreement on image: hostB has none, hostA has 'aaa'$/)
  const extra = await reasonOf(listener.port, { terms: { image: 'aaa', software: '7', constructor: 'x' } })
  assert.match(extra, /no agreement on constructor: hostB has 'x', hostA has none$/)
  assert.equal(notices.length, 3)
  assert.equal(refused[0], "hostB control no agreement on software: hostB has '8', hostA has '7'")
  assert.equal(refused.length, 3, 'so that a status can name the peer')
})

test('a peer is told why it is not accepted although it agrees on everything', async () => {
  const listening = await listenSecure({
    ...{ credentials: secret, name: 'hostA', host: '127.0.0.1', port: 0, onNotice: () => {} },
    services: {
      control: {
        terms: () => ({}),
        check: async ({ from, info }) => {
          await new Promise((resolve) => setImmediate(resolve))
          return info['mark'] === from ? undefined : `${from} has no mark`
        },
        accept: () => {},
      },
    },
  })
  closers.push(() => listening.close())
  assert.match(await reasonOf(listening.port), /refused: hostB has no mark$/)
  await opened(listening.port, { info: { mark: 'hostB' } })
})

test('a service that is not served is refused by name', async () => {
  const { listener } = await listen()
  assert.match(await reasonOf(listener.port, { service: 'gateway' }), /hostA does not serve 'gateway'/)
})

/** Handshakes that are none, each as the bytes inside TLS; the notice or answer that they get. */
const badHellos: readonly (readonly [string, Uint8Array, RegExp])[] = [
  [
    'of another version',
    framed('{"kind":"understudy","version":1}'),
    /handshake version '1', this program speaks 2/,
  ],
  ['of another kind', framed('{"kind":"other","version":2}'), /not a handshake/],
  ['that is an array', framed('[]'), /not a JSON object/],
  ['that is no JSON', framed('{"kind":'), /not JSON/],
  [
    'without terms',
    framed('{"kind":"understudy","version":2,"service":"control","from":"hostB","to":"hostA"}'),
    /no terms/,
  ],
  ['of no length', new Uint8Array(4), /a handshake of 0 bytes/],
  ['of 4 GiB', Uint8Array.from([255, 255, 255, 255, 1]), /a handshake of 4294967295 bytes/],
  ['of a byte too many', Uint8Array.from([1, 16, 0, 0]), /a handshake of 4097 bytes/],
  ['of garbage', new Random(5).bytes(3000), /a handshake of \d+ bytes/],
]

function framed(text: string): Uint8Array {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return Buffer.concat([length, Buffer.from(text)])
}

for (const [what, bytes, reason] of badHellos) {
  test(`a hello ${what} is refused with a notice, and the next peer is accepted`, async () => {
    const { listener, notices } = await listen()
    const socket = secret.connect({
      name: 'hostB',
      peerName: 'hostA',
      host: '127.0.0.1',
      port: listener.port,
    })
    closers.push(() => socket.destroy())
    socket.on('error', () => {})
    socket.write(bytes)
    assert.match(await received(socket, 50), reason)
    assert.match(notices.join(), reason)
    await opened(listener.port)
  })
}

test('garbage instead of TLS has no effect but a notice, however often', async () => {
  const { listener, notices, accepted } = await listen()
  const random = new Random(11)
  for (let i = 0; i < 40; i++) {
    const socket = await plain(listener.port)
    socket.end(random.bytes(random.between(1, 600)))
    socket.resume()
    await once(socket, 'close')
  }
  await opened(listener.port)
  assert.equal(accepted.length, 1)
  assert.ok(notices.length >= 1 && notices.length <= 10, `${notices.length} notices`)
})

test('whoever does not finish the handshake is dropped, at whatever point it stops', async () => {
  const { listener, notices } = await listen({ handshakeMs: HASTY_MS })
  const silent = await plain(listener.port)
  const within = secret.connect({ name: 'hostB', peerName: 'hostA', host: '127.0.0.1', port: listener.port })
  within.on('error', () => {})
  within.write(
    encodeHello({ service: 'control', from: 'hostB', to: 'hostA', terms: {}, info: {} }).subarray(0, 30),
  )
  await Promise.all([silent, within].map((socket) => once(socket.resume(), 'close')))
  await until('notices', () => notices.length === 2)
  for (const notice of notices) assert.match(notice, /no handshake within 300 ms/)
})

test('the time for a handshake is none for the channel behind it', async () => {
  const { listener, accepted } = await listen({ handshakeMs: 2000 })
  const stream = await opened(listener.port)
  // Its time runs out after that of the channel would.
  const silent = await plain(listener.port)
  await once(silent.resume(), 'close')
  accepted[0]!.stream.write('still here')
  assert.equal(await received(stream, 10), 'still here')
})

test('a crowd that stays silent is bounded, and does not keep a peer out', async () => {
  const { listener, notices } = await listen({ unfinishedMax: 4 })
  const crowd = await Promise.all(Array.from({ length: 12 }, () => plain(listener.port)))
  let open = crowd.length
  for (const socket of crowd) socket.resume().on('close', () => open--)
  await opened(listener.port)
  await until('dropped', () => open === 3)
  assert.match(notices.join(), /too many handshakes at once/)
})

test('a handshake that was recorded and is replayed has no effect but a notice', async () => {
  const { listener, notices, accepted } = await listen()
  const recorded: Buffer[] = []
  const relay = createServer((socket) => {
    const onward = connect(listener.port, '127.0.0.1')
    for (const end of [socket, onward]) end.on('error', () => {})
    socket.on('data', (bytes: Buffer) => recorded.push(bytes))
    socket.pipe(onward).pipe(socket)
  })
  closers.push(() => relay.close())
  await once(relay.listen(0, '127.0.0.1'), 'listening')
  const stream = await opened((relay.address() as { port: number }).port)
  stream.end('do something')
  await until('accepted', () => accepted.length === 1)
  await until('recorded', () => Buffer.concat(recorded).length > 300)

  const replayed = await plain(listener.port)
  replayed.resume().write(Buffer.concat(recorded))
  await once(replayed, 'close')
  await until('a notice', () => notices.length === 1)
  assert.match(notices[0]!, /turned away: the shared secret is not the same/)
  assert.equal(accepted.length, 1)
})

test('a channel whose peer goes ends with a close and no error, and so do all when the listener closes', async () => {
  const { listener, accepted } = await listen()
  const streams = [await opened(listener.port), await opened(listener.port)]
  await until('accepted', () => accepted.length === 2)
  const closed = accepted.map(({ stream }) => once(stream.resume(), 'close'))
  streams[0]!.destroy()
  await closed[0]
  const other = once(streams[1]!.resume(), 'close')
  await listener.close()
  await Promise.all([other, closed[1]])
})

test('an abandoned dial says nothing more', async () => {
  const { listener } = await listen()
  const said: string[] = []
  const base = {
    credentials: secret,
    name: 'hostB',
    host: '127.0.0.1',
    service: 'control',
    terms: {},
  } as const
  const on = { opened: () => said.push('opened'), failed: () => said.push('failed') }
  dialSecure({ ...base, peerName: 'hostA', port: listener.port }, on).abort()
  await opened(listener.port)
  assert.deepEqual(said, [])
})

test('an address that is in use is told with what to do', async () => {
  const { listener } = await listen()
  await assert.rejects(
    listen({ port: listener.port }),
    /cannot listen at 127\.0\.0\.1 port \d+: it is in use/,
  )
})

test('with certificates, the names in them are the names of the peers', async () => {
  const authority = makeAuthority(folder, {
    hostA: ['IP:127.0.0.1', 'DNS:hostA'],
    hostB: [],
    // Its common name does not count beside a name in the extension.
    hostC: ['DNS:hostD', 'DNS:*'],
  })
  const [credentials, credentialsB, credentialsC] = await Promise.all(
    ['hostA', 'hostB', 'hostC'].map((name) => openCredentials(authority.files(name))),
  )
  const { listener, accepted } = await listen({ credentials: credentials! })
  const stream = await opened(listener.port, { credentials: credentialsB! })
  assert.equal(stream.getProtocol(), 'TLSv1.3')
  await opened(listener.port, { credentials: credentialsC!, name: 'hostD' })
  assert.deepEqual(
    accepted.map(({ peer }) => peer.name),
    ['hostB', 'hostD'],
  )
  for (const name of ['hostC', 'hostA', 'hostd']) {
    const reason = await reasonOf(listener.port, { credentials: credentialsC!, name })
    assert.ok(reason.endsWith(`refused: whoever calls itself ${name} has not proved that it is`), reason)
  }
  assert.match(
    await reasonOf(listener.port, { credentials: credentialsB!, peerName: 'hostD' }),
    /the certificate there is not one of hostD/,
  )
})

test('a certificate of another authority is refused by both sides, and so is none', async () => {
  const ours = makeAuthority(folder, { hostA: [] })
  const theirs = makeAuthority(folder, { hostB: [] })
  const { listener, notices, accepted } = await listen({
    credentials: await openCredentials(ours.files('hostA')),
  })
  const told = (options: Partial<DialOptions>): Promise<string> => reasonOf(listener.port, options)
  assert.match(
    await told({ credentials: await openCredentials(theirs.files('hostB')) }),
    /certificate.* is not accepted/,
  )
  // It would accept this one: the listener must not accept it.
  const trusting = await openCredentials(theirs.files('hostB', ours.caFile))
  assert.match(await told({ credentials: trusting }), /hostA at .*(certificate.* not accepted|closed)/)
  await told({ credentials: secret })
  await until('notices', () => notices.length === 3)
  assert.equal(accepted.length, 0)
})

test('certificate files that are none are refused by name', async () => {
  const path = join(folder, 'no.pem')
  writeFileSync(path, 'nothing')
  const files = { caFile: path, certificateFile: path, keyFile: path }
  await assert.rejects(openCredentials(files), /no\.pem: not what it should be/)
  await assert.rejects(openCredentials({ ...files, caFile: join(folder, 'missing.pem') }), /missing\.pem/)
})
