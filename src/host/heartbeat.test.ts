import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, PassThrough } from 'node:stream'
import { after, afterEach, before, test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { type Heartbeat, type HeartbeatOptions, startHeartbeat } from './heartbeat.ts'
import { HEARTBEAT_STATES, MachineProgress, monotonicMs, PeerTable } from './heartbeat_memory.ts'
import { type Beat, decodeBeat, encodeBeat, HeartbeatStream } from './heartbeat_stream.ts'
import { openCredentials } from './secure_credentials.ts'
import { dialSecure } from './secure_dial.ts'

/** Far above what anything here takes on a busy machine. */
const PATIENT_MS = 20_000

let folder: string
let secretFile: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'heartbeat-'))
  secretFile = join(folder, 'secret')
})
after(() => rmSync(folder, { recursive: true }))

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
  readonly heartbeat: Heartbeat
  readonly progress: MachineProgress
  readonly notices: string[]
}

async function start(name: string, options: Partial<HeartbeatOptions> = {}): Promise<Setting> {
  const progress = new MachineProgress()
  const notices: string[] = []
  const heartbeat = await startHeartbeat({
    credentials: { secretFile },
    name,
    host: '127.0.0.1',
    port: 0,
    terms: {},
    heartbeatMs: 10,
    progress,
    onNotice: (line) => notices.push(line),
    ...options,
  })
  closers.push(() => heartbeat.close())
  return { heartbeat, progress, notices }
}

const reach = (name: string, { heartbeat }: Setting) => ({ name, host: '127.0.0.1', port: heartbeat.port })

test('two processes hear of each other over one channel what their machines are doing', async () => {
  const [a, b] = [await start('hostA'), await start('hostB')]
  a.progress.write('idle', 7n)
  b.progress.write('running', 2n ** 63n - 1n)
  assert.equal(a.heartbeat.peer('hostB'), undefined)
  b.heartbeat.connect(reach('hostA', a))
  await until('heard', () => [a.heartbeat.peer('hostB'), b.heartbeat.peer('hostA')].every((peer) => peer))
  const { heardMs, ...heard } = a.heartbeat.peer('hostB')!
  assert.deepEqual({ ...heard, beats: 0n }, { state: 'running', position: 2n ** 63n - 1n, beats: 0n })
  assert.ok(heardMs <= monotonicMs() && heardMs > monotonicMs() - PATIENT_MS)
  assert.equal(b.heartbeat.peer('hostA')!.state, 'idle')
  a.progress.write('stopped', 8n)
  await until('news', () => b.heartbeat.peer('hostA')!.state === 'stopped')
  assert.equal(b.heartbeat.peer('hostA')!.position, 8n)
  assert.deepEqual([...a.notices, ...b.notices], [])
})

test('a main thread that hangs for too long is not vouched for, until it is at work again', async () => {
  const [a, b] = [await start('hostA', { stallMs: 200 }), await start('hostB')]
  b.heartbeat.connect(reach('hostA', a))
  const beats = (): bigint => b.heartbeat.peer('hostA')?.beats ?? 0n
  await until('a beat', () => {
    a.progress.tick()
    return beats() > 0n
  })
  let last = -1n
  let sinceMs = performance.now()
  await until('silence', () => {
    if (beats() !== last) sinceMs = performance.now()
    last = beats()
    return performance.now() - sinceMs > 500
  })
  await until('a beat again', () => {
    a.progress.tick()
    return beats() > last
  })
})

test('a main thread that does nothing else neither delays what is sent nor what is heard', async () => {
  const [a, b] = [await start('hostA'), await start('hostB')]
  b.heartbeat.connect(reach('hostA', a))
  await until('heard', () => a.heartbeat.peer('hostB') !== undefined)
  await until('heard', () => b.heartbeat.peer('hostA') !== undefined)
  // Both threads belong to this process, whose main thread now spins until each has heard the other 50 times more.
  const goals = [a.heartbeat.peer('hostB')!.beats + 50n, b.heartbeat.peer('hostA')!.beats + 50n]
  const end = performance.now() + PATIENT_MS
  let step = 0n
  const isReached = (): boolean =>
    a.heartbeat.peer('hostB')!.beats >= goals[0]! && b.heartbeat.peer('hostA')!.beats >= goals[1]!
  while (!isReached() && performance.now() < end) a.progress.write('running', ++step)
  assert.ok(isReached(), 'no beats while the main thread spins')
  assert.ok(b.heartbeat.peer('hostA')!.position > 0n)
})

test('a process that ends falls silent, and one that takes its place is heard again', async () => {
  const b = await start('hostB')
  const first = await start('hostA')
  b.heartbeat.connect(reach('hostA', first))
  await until('heard', () => b.heartbeat.peer('hostA') !== undefined)
  await first.heartbeat.close()
  const { beats } = b.heartbeat.peer('hostA')!
  const second = await start('hostA', { port: first.heartbeat.port })
  second.progress.write('running', 99n)
  await until('heard again', () => b.heartbeat.peer('hostA')!.position === 99n)
  assert.ok(b.heartbeat.peer('hostA')!.beats > beats)
})

test('a peer that is let go of is not dialled any more', async () => {
  const [a, b] = [await start('hostA'), await start('hostB')]
  b.heartbeat.connect(reach('hostA', a))
  await until('heard', () => b.heartbeat.peer('hostA') !== undefined)
  b.heartbeat.disconnect('hostA')
  let last = -1n
  // Beats that are on their way may still arrive; then there are none for longer than a redial takes.
  await until('silence', () => {
    const { beats, heardMs } = b.heartbeat.peer('hostA')!
    const isSilent = beats === last && monotonicMs() - heardMs > 300
    last = beats
    return isSilent
  })
})

test('a stranger is told apart by its secret, and the address that is in use by its name', async () => {
  const a = await start('hostA')
  const stranger = await start('hostB', { credentials: { secretFile: join(folder, 'another') } })
  stranger.heartbeat.connect(reach('hostA', a))
  await until('notices', () => a.notices.length > 0 && stranger.notices.length > 0)
  assert.match(a.notices[0]!, /^heartbeat: 127\.0\.0\.1:\d+: turned away: the shared secret/)
  assert.equal(a.heartbeat.peer('hostB'), undefined)
  await assert.rejects(start('hostC', { port: a.heartbeat.port }), /cannot listen .* it is in use/)
})

test('a peer that sends no beats is cut off with a notice', async () => {
  const a = await start('hostA')
  const credentials = await openCredentials({ secretFile })
  const route = { credentials, name: 'hostB', peerName: 'hostA', host: '127.0.0.1', port: a.heartbeat.port }
  const stream = await new Promise<Duplex>((opened) => {
    dialSecure(
      { ...route, service: 'heartbeat', terms: {} },
      { opened, failed: ({ reason }) => assert.fail(reason) },
    )
  })
  stream.resume().write(Buffer.alloc(24, 0xff))
  await once(stream, 'close')
  await until('a notice', () => a.notices.length === 1)
  assert.match(a.notices[0]!, /heartbeat: channel of hostB: heartbeat: byte 0: not a beat/)
})

test('a beat takes 24 bytes and comes back as it was; anything else is refused', () => {
  const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
  const beat = fc.record(
    { stateNumber: fc.nat(HEARTBEAT_STATES.length - 1), position: u64, sequence: u64 },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(beat, (sent) => {
      assert.equal(encodeBeat(sent).length, 24)
      assert.deepEqual(decodeBeat(encodeBeat(sent)), sent)
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 24, maxLength: 24 }), (bytes) => {
      if (bytes.subarray(1, 8).some((byte) => byte !== 0) || bytes[0]! > 2) {
        assert.throws(() => decodeBeat(bytes), FormatError)
      }
    }),
  )
})

test('a beat that comes twice ends the channel', () => {
  const stream = new PassThrough()
  const heard: Beat[] = []
  new HeartbeatStream(
    stream,
    (beat) => heard.push(beat),
    () => {},
  )
  const beat = encodeBeat({ stateNumber: 1, position: 5n, sequence: 1n })
  stream.emit('data', beat.subarray(0, 10))
  stream.emit('data', Buffer.concat([beat.subarray(10), beat]))
  assert.equal(heard.length, 1)
  assert.ok(stream.destroyed)
})

test('what cannot be sent at once does not pile up', () => {
  const stuck = new Duplex({ read() {}, write() {} })
  const beats = new HeartbeatStream(
    stuck,
    () => {},
    () => {},
  )
  for (let i = 0; i < 1000; i++) beats.send(new MachineProgress())
  assert.ok(stuck.writableLength <= 17 * 24, `${stuck.writableLength} bytes`)
  beats.closeIfSilent(PATIENT_MS)
  assert.ok(!stuck.destroyed)
  beats.closeIfSilent(0)
  assert.ok(stuck.destroyed)
})

test('the table of peers keeps them apart by name, and its places end', () => {
  const table = new PeerTable()
  const names = Array.from({ length: 16 }, (_, i) => `host${i}`)
  for (const [i, name] of names.entries()) {
    assert.ok(table.reserve(name) && table.reserve(name))
    table.heard(name, i % 3, BigInt(i))
  }
  assert.ok(!table.reserve('one too many'))
  const other = new PeerTable(table.memory)
  for (const [i, name] of names.entries()) assert.equal(other.peer(name)!.position, BigInt(i))
  assert.equal(other.peer('host'), undefined)
})
