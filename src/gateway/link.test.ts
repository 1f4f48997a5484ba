import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, test } from 'node:test'
import { Random } from '../base/prng.ts'
import type { PortOrdinal } from '../replication/message.ts'
import { OutputGate } from '../replication/output_gate.ts'
import { LinkClient, type LinkIdentity, type LinkOutput } from './link_client.ts'
import { encodeLink, type LinkMessage } from './link_codec.ts'
import { LinkServer, type LinkServerOptions } from './link_server.ts'

/** Far above what anything here takes on a busy machine. */
const PATIENT_MS = 20_000
const CONSOLE = 1
const NET = 2

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !isSo(); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** A gateway's server behind a port of the loopback, and all that it has said. */
class Gateway {
  readonly server: LinkServer
  readonly said: string[] = []
  readonly frames: string[] = []
  readonly console: number[] = []
  readonly sockets: Socket[] = []
  #port = 0

  constructor(options: LinkServerOptions = {}) {
    this.server = new LinkServer(
      'vm',
      {
        onFrame: (port, bytes) => {
          if (port === NET) this.frames.push(Buffer.from(bytes).toString('latin1'))
          else this.console.push(...bytes)
        },
        onAttached: ({ peerName, epoch, life }) => this.said.push(`${peerName} attached, ${epoch} ${life}`),
        onDetached: (reason) => this.said.push(`detached: ${reason}`),
        onInputReady: () => this.said.push('ready'),
        onNotice: (line) => this.said.push(`notice: ${line}`),
      },
      options,
    )
  }

  async open(): Promise<this> {
    const listener = createServer((socket) => {
      this.sockets.push(socket)
      this.server.accept(socket, 'hostA')
    })
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    closers.push(
      () => listener.close(),
      () => this.server.close(),
    )
    this.#port = (listener.address() as { port: number }).port
    return this
  }

  socket(): Promise<Socket> {
    return new Promise((resolve) => {
      const socket = connect(this.#port, '127.0.0.1', () => resolve(socket)).on('error', () => {})
      closers.push(() => socket.destroy())
    })
  }

  async primary(identity: Partial<LinkIdentity> = {}): Promise<Primary> {
    return new Primary(await this.socket(), identity)
  }
}

/** A client, and all that it was told. */
class Primary {
  readonly client: LinkClient
  readonly socket: Socket
  readonly inputs: string[] = []
  readonly left = new Map<number, bigint>()
  /** What the welcome said. */
  up: readonly PortOrdinal[] | undefined
  down: string | undefined

  constructor(
    socket: Socket,
    identity: Partial<LinkIdentity>,
    onUp?: (left: readonly PortOrdinal[]) => void,
  ) {
    this.socket = socket
    this.client = new LinkClient(
      socket,
      { machine: 'vm', epoch: 1, life: 1, ...identity },
      {
        onUp: (left) => {
          this.up = left
          onUp?.(left)
        },
        onLeft: (port, ordinal) => this.left.set(port, ordinal),
        onInput: (port, bytes) => this.inputs.push(`${port} ${Buffer.from(bytes).toString('latin1')}`),
        onDown: (reason) => {
          this.down = reason
        },
      },
      PATIENT_MS,
    )
    closers.push(() => this.client.close())
  }

  async isUp(): Promise<this> {
    await until('up', () => this.up !== undefined)
    return this
  }

  async isDown(): Promise<string> {
    await until('down', () => this.down !== undefined)
    return this.down!
  }
}

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

/** As deepEqual, which takes minutes to tell long arrays apart. */
function assertBytes(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length)
  assert.ok(Buffer.from(actual).equals(Buffer.from(expected)), 'other bytes')
}

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
})

const good: LinkMessage = { kind: 'hello', epoch: 1, life: 1, machine: 'vm' }
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

test('links that say nothing are bounded, and closed after a while', async () => {
  const gateway = await new Gateway({ helloMs: 300 }).open()
  const silent = await Promise.all(Array.from({ length: 12 }, () => gateway.socket()))
  let open = silent.length
  for (const socket of silent) socket.resume().on('close', () => open--)
  await until('fewer', () => open <= 8)
  await (await gateway.primary()).isUp()
  await until('none', () => open === 0)
  assert.match(gateway.said.join(), /no hello within 300 ms/)
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
      new LinkClient(socket, { machine: 'vm', epoch: 1, life: 1 }, events, 300)
    })
    assert.match(down, reason)
  }
})

/**
 * A machine that puts out a stream whose content follows from its place, and its primaries: links are cut at random, and
 * now and then another copy, which knows less of what has left, goes live by a higher epoch.
 */
class Story {
  readonly #random: Random
  readonly #gateway: Gateway
  readonly #outputs: { readonly port: number; readonly ordinal: bigint; readonly bytes: Uint8Array }[] = []
  readonly #ends = new Map<number, number>()
  #gate = new OutputGate()
  #epoch = 1
  #primary: Primary | undefined

  constructor(seed: number, gateway: Gateway) {
    this.#random = new Random(seed)
    this.#gateway = gateway
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      const chance = this.#random.below(20)
      if (chance === 0) this.#primary?.socket.destroy()
      else if (chance === 1) this.#gateway.sockets.at(-1)?.destroy()
      else if (chance === 2) this.#failOver()
      else this.#produce(this.#random.between(1, 8))
      if (this.#primary?.down !== undefined || this.#primary === undefined) await this.#attach()
      if (this.#random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve))
    }
    await until('all left', () => {
      this.#learn()
      return this.#gate.isEmpty
    })
  }

  get frames(): number {
    return this.#ends.get(NET) ?? 0
  }

  get consoleBytes(): number {
    return this.#ends.get(CONSOLE) ?? 0
  }

  async #attach(): Promise<void> {
    const socket = await this.#gateway.socket()
    this.#primary = new Primary(socket, { epoch: this.#epoch }, (left) => {
      for (const { port, ordinal } of left) this.#gate.onLeft(port, ordinal)
      this.#gate.holdAgain()
      this.#release()
    })
  }

  /** Another copy goes live: it has all outputs from some place on, cut as they were, and knows nothing of later. */
  #failOver(): void {
    this.#learn()
    this.#epoch++
    const gate = new OutputGate()
    const known = this.#gate.left.map(({ port, ordinal }) => {
      const less = ordinal - BigInt(this.#random.below(50))
      return { port, ordinal: less < 0n ? 0n : less }
    })
    for (const { port, ordinal } of known) gate.onLeft(port, ordinal)
    this.#outputs.forEach((output, index) => {
      gate.add({ ...output, index: BigInt(index) })
    })
    this.#gate = gate
    this.#primary = undefined
  }

  #learn(): void {
    for (const [port, ordinal] of this.#primary?.left ?? []) this.#gate.onLeft(port, ordinal)
  }

  #produce(count: number): void {
    for (let i = 0; i < count; i++) {
      const port = this.#random.pick([NET, CONSOLE])
      const before = this.#ends.get(port) ?? 0
      const length = this.#random.between(1, 40)
      const end = before + (port === NET ? 1 : length)
      const bytes =
        port === NET
          ? Buffer.from(`frame ${end}`)
          : Uint8Array.from({ length }, (_, at) => (before + at) % 251)
      this.#ends.set(port, end)
      const output = { port, ordinal: BigInt(end), bytes }
      this.#gate.add({ ...output, index: BigInt(this.#outputs.length) })
      this.#outputs.push(output)
    }
    this.#learn()
    this.#release()
  }

  #release(): void {
    if (this.#primary?.client.isUp !== true) return
    for (const one of this.#gate.release(BigInt(this.#outputs.length))) this.#primary.client.put(one)
  }
}

for (const seed of [1, 2, 3, 4, 5]) {
  test(`every output arrives once and in order over cuts and failovers (seed ${seed})`, async () => {
    const gateway = await new Gateway().open()
    const story = new Story(seed, gateway)
    await story.run(400)
    assert.ok(story.frames > 100 && story.consoleBytes > 1000)
    assert.deepEqual(
      gateway.frames,
      Array.from({ length: story.frames }, (_, i) => `frame ${i + 1}`),
    )
    assertBytes(
      gateway.console,
      Array.from({ length: story.consoleBytes }, (_, at) => at % 251),
    )
    assert.deepEqual(
      gateway.said.filter((line) => line.startsWith('notice') && !line.includes('superseded')),
      [],
    )
  })
}
