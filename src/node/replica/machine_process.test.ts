import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { after, afterEach, before, mock, test } from 'node:test'
import { PORT } from '../../board/computer.ts'
import { BaseImage } from '../../host/base_image.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
import type { Arbiter, Decision, OnAnswer } from '../../replication/arbiter.ts'
import { encodeConfiguration, startCold } from '../../replication/configuration.ts'
import type { Message } from '../../replication/message.ts'
import { encodeMessage, MessageDecoder } from '../../replication/message_codec.ts'
import { DEFAULT_SETTINGS } from '../../replication/settings.ts'
import type { ImageFiles } from '../boot_files.ts'
import { smallImage } from '../testing/small_image.ts'
import { smallReplica } from '../testing/small_replica.ts'
import { type DialEvents, MachineProcess, type Network, type NetworkEvents } from './machine_process.ts'
import { StateSource } from './state_transfer.ts'

const PATIENT_MS = 60_000

let folder: string
let image: ImageFiles
let base: BaseImage
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'machine-process-'))
  image = await smallImage(folder, 'again: wfi; j again')
  base = await BaseImage.open(image.disk)
})
after(async () => {
  await base.close()
  rmSync(folder, { recursive: true })
})

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !isSo(); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

class MemoryArbiter implements Arbiter {
  decision: Decision | undefined
  requests = 0

  read(onAnswer: OnAnswer): void {
    this.requests++
    setImmediate(() => onAnswer({ kind: 'current', decision: this.decision }))
  }

  propose(_expected: Decision | undefined, proposed: Decision, onAnswer: OnAnswer): void {
    this.decision = proposed
    this.read(onAnswer)
  }

  close(): void {}
}

class TestNetwork implements Network {
  events: NetworkEvents | undefined
  isAway = false
  isUpAtOnce = false
  isClosed = false

  attach(_place: unknown, events: NetworkEvents): void {
    this.events = events
    if (this.isUpAtOnce) events.onUp([])
    else if (!this.isAway) setImmediate(() => events.onUp([]))
  }

  put(): void {}

  holdInput(): void {}

  close(): void {
    this.isClosed = true
  }
}

interface Setting {
  readonly machine: MachineProcess
  readonly arbiter: MemoryArbiter
  readonly network: TestNetwork
  readonly notices: string[]
  readonly halts: string[]
  /** The far ends of what has been dialled. */
  readonly dialled: Duplex[]
}

/** A process at host b, which creates the machine if it has a disk and the arbiter knows of none. */
async function start(
  arbiter: MemoryArbiter,
  hasDisk: boolean,
  settle?: (events: DialEvents) => void,
  kernel = image,
): Promise<Setting> {
  const network = new TestNetwork()
  const [notices, halts, dialled]: [string[], string[], Duplex[]] = [[], [], []]
  const replica = await smallReplica(folder, kernel, base, hasDisk)
  const onNotice = (text: string): void => void notices.push(text)
  const machine = new MachineProcess({
    ...{ machine: 'small', host: 'b', incarnation: 'beef', diskGeneration: replica.disk?.generation },
    ...{ joinGeneration: randomIdentity(), mayCreate: true, mayRestart: true, force: false },
    ...{ settings: DEFAULT_SETTINGS, arbiter, network, onNotice },
    dial: (_host, events) => {
      const [near, far] = duplexPair()
      dialled.push(far)
      setImmediate(() => (settle === undefined ? events.opened(near) : settle(events)))
    },
    heardFrom: () => undefined,
    replica: { ...replica, onNotice, onFailed: (message) => assert.fail(message) },
    onHalted: (reason) => halts.push(reason),
  })
  closers.push(async () => {
    await machine.end()
    await replica.directory.close()
  })
  return { machine, arbiter, network, notices, halts, dialled }
}

/** What arrives at a stream, until now. */
function arrivals(stream: Duplex): Message[] {
  const decoder = new MessageDecoder('test')
  const messages: Message[] = []
  stream.on('data', (bytes: Uint8Array) => {
    decoder.push(bytes)
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) messages.push(message)
  })
  return messages
}

const hello = (host: string): Message => ({ kind: 'hello', machine: 'small', host, incarnation: 'cafe' })

test('who says hello under another name than it has proved is not heard', async () => {
  const { machine, notices } = await start(new MemoryArbiter(), true)
  const [near, far] = duplexPair()
  const messages = arrivals(far)
  machine.accept(near, 'c')
  far.write(encodeMessage(hello('a')))
  await until('closed', () => far.readableEnded)
  assert.deepEqual(messages, [])
  assert.match(notices.join('\n'), /c says that it is a/)
  const [other, end] = duplexPair()
  const answers = arrivals(end)
  machine.accept(other, 'c')
  end.write(encodeMessage(hello('c')))
  await until('an answer', () => answers.length > 0)
  assert.equal(answers[0]!.kind, 'hello')
})

test('a network brings frames, and nothing that is for other ports', async () => {
  const { machine, network, notices } = await start(new MemoryArbiter(), true)
  await until('attached', () => network.events !== undefined)
  network.events!.onInput(PORT.generation, Uint8Array.of(1))
  network.events!.onInput(PORT.entropy, new Uint8Array(64))
  network.events!.onInput(PORT.entropy, new Uint8Array(64))
  network.events!.onInput(63, new Uint8Array(64))
  network.events!.onInput(PORT.net, new Uint8Array(64))
  await until('booted', () => machine.replica.position > 0n)
  await machine.replica.inspect()
  assert.equal(notices.filter((line) => line.includes('refused')).length, 3)
})

test('a console shows what the machine prints while its network is away', async () => {
  const printing = await smallImage(
    mkdtempSync(join(folder, 'printing-')),
    'li t0, 0x10000000; li t1, 65; sb t1, 0(t0); again: wfi; j again',
  )
  const { machine, network } = await start(new MemoryArbiter(), true, undefined, printing)
  network.isAway = true
  const shown: number[] = []
  machine.console.listen(({ bytes }) => shown.push(...bytes))
  await until('printed', () => shown.includes(65))
})

test('a network that is up as soon as it is attached is told once, so that nothing is sent to it twice', async () => {
  const { machine, network } = await start(new MemoryArbiter(), true)
  network.isUpAtOnce = true
  const step = mock.method(machine.member, 'step')
  const ups = (): number => step.mock.calls.filter(({ arguments: [input] }) => input.kind === 'linkUp').length
  await until('attached', () => network.events !== undefined && ups() > 0)
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.equal(ups(), 1)
  step.mock.restore()
})

test('what a network still has to send does not leave after the halt', async () => {
  const { network, halts } = await start(new MemoryArbiter(), true)
  await until('attached', () => network.events !== undefined)
  network.events!.onLeft(PORT.net, 99n)
  assert.match(halts.join(), /this machine never had it/)
  assert.equal(network.isClosed, true)
})

test('a chunk of a state is acknowledged when it is stored', async () => {
  const arbiter = new MemoryArbiter()
  const primary = { host: 'a', incarnation: 'cafe', diskGeneration: randomIdentity() }
  arbiter.decision = encodeConfiguration(startCold(undefined, primary))
  const { machine, dialled } = await start(arbiter, false)
  const storing = Promise.withResolvers<void>()
  machine.replica.stored = () => storing.promise
  await until('dialled', () => dialled.length > 0)
  const [far] = dialled as [Duplex]
  const messages = arrivals(far)
  const has = (kind: Message['kind']) => (): boolean => messages.some((message) => message.kind === kind)
  far.write(encodeMessage(hello('a')))
  await until('asked', has('join'))
  const place = { epoch: 1, life: 1, nextIndex: 5n, position: 5n, released: [] }
  far.write(encodeMessage({ kind: 'joinStart', join: 1, ...place }))
  const disk = { sectors: base.sectors, baseDigest: base.digest, extents: () => [], release: () => {} }
  const read = async (): Promise<Uint8Array> => new Uint8Array()
  const source = new StateSource({ state: new Uint8Array(1), pages: [], disk: { ...disk, read } })
  const bytes = await source.read(0)
  far.write(encodeMessage({ kind: 'chunk', join: 1, number: 0, isLast: false, bytes }))
  const beats = (): number => messages.filter(({ kind }) => kind === 'heartbeat').length
  const before = beats()
  await until('more beats', () => beats() >= before + 3)
  assert.equal(has('chunkAck')(), false)
  storing.resolve()
  await until('acknowledged', has('chunkAck'))
})

test('a process that has ended dials nobody and asks no arbiter, though its channels close after that', async () => {
  const arbiter = new MemoryArbiter()
  const primary = { host: 'a', incarnation: 'cafe', diskGeneration: randomIdentity() }
  arbiter.decision = encodeConfiguration(startCold(undefined, primary))
  const { machine, dialled } = await start(arbiter, false)
  await until('dialled', () => dialled.length > 0)
  const [far] = dialled as [Duplex]
  const messages = arrivals(far)
  far.write(encodeMessage(hello('a')))
  await until('asked', () => messages.some(({ kind }) => kind === 'join'))
  await machine.end()
  const { requests } = arbiter
  far.write(encodeMessage({ kind: 'configured', epoch: 2 }))
  far.end()
  await until('closed', () => far.closed)
  await new Promise(setImmediate)
  assert.deepEqual([dialled.length, arbiter.requests], [1, requests])
})

test('a channel that cannot be opened is told once for each reason, however often it is tried', async () => {
  const arbiter = new MemoryArbiter()
  const primary = { host: 'a', incarnation: 'cafe', diskGeneration: randomIdentity() }
  arbiter.decision = encodeConfiguration(startCold(undefined, primary))
  const { machine, dialled, notices } = await start(arbiter, false, ({ failed }) =>
    failed(false, 'another build'),
  )
  await until('dials', () => dialled.length >= 4)
  assert.deepEqual(
    notices.filter((line) => line.startsWith('no channel')),
    ['no channel to a: another build'],
  )
  assert.deepEqual(machine.refusals, { a: 'another build' })
  const [near] = duplexPair()
  machine.accept(near, 'a')
  assert.deepEqual(machine.refusals, {}, 'a channel has come about')
})
