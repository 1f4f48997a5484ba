import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import type { JsonObject } from '../../base/canonical_json.ts'
import { type Credentials, openCredentials } from '../../host/secure_credentials.ts'
import {
  SMALL_IMAGE,
  type SmallDaemon,
  type SmallDaemonOptions,
  smallDaemon,
} from '../testing/small_daemon.ts'
import { DaemonClient } from './daemon_client.ts'
import type { CreateRequest, MachineState } from './daemon_protocol.ts'
import { HostDaemon } from './host_daemon.ts'
import { encodeMachineFile } from './machine_file.ts'
import { newMachine } from './pair.ts'
import { noteProcess } from './pair_processes.ts'

/** The user who owns nothing. */
const NOBODY = 65_534

const WAIT_MS_MAX = 60_000

let folder: string
let credentials: Credentials
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'host-daemon-'))
  credentials = await openCredentials({ secretFile: join(folder, 'secret') })
})
after(() => rmSync(folder, { recursive: true }))

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + WAIT_MS_MAX; !(await isSo()); ) {
    assert.ok(performance.now() < end, `it does not come to this: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

interface Connected extends SmallDaemon {
  readonly client: DaemonClient
  readonly state: () => Promise<MachineState>
  /** As if its computer were switched off in order. */
  readonly close: () => Promise<void>
}

async function connected(t: TestContext, options: Partial<SmallDaemonOptions> = {}): Promise<Connected> {
  const small = await smallDaemon({ name: 'alpha', folder, ...options })
  const client = await DaemonClient.connect(small.daemon.address, credentials)
  let isClosed = false
  const close = async (): Promise<void> => {
    if (isClosed) return
    isClosed = true
    client.close()
    await small.daemon.close()
  }
  t.after(close)
  return { ...small, client, close, state: () => client.state('db') }
}

function creation(options: Partial<CreateRequest> = {}): CreateRequest {
  const record = newMachine({ harts: 1, ramBytes: 2 ** 26 }, 'debian', SMALL_IMAGE)
  return {
    ...{ machine: 'db', port: 7001, heartbeatPort: 7002, metricsPort: 7003 },
    ...{
      peers: { beta: { host: '127.0.0.1', port: 7004 } },
      arbiter: 'file:/srv',
      network: { kind: 'none' },
    },
    ...{ mayCreate: true, settings: {}, allowFaults: false, isRecorded: false },
    ...{ translates: true, secret: '4'.repeat(64) },
    definition: encodeMachineFile({ name: 'db', record }),
    ...options,
  }
}

test('a daemon describes what it has, with ports that nobody has been given', async (t) => {
  const { client, daemon } = await connected(t)
  const first = await client.describe({ machine: 'db', image: 'debian', avoidPorts: [] })
  assert.deepEqual([first.name, first.isTaken, first.image], ['alpha', false, SMALL_IMAGE])
  assert.ok(first.port > daemon.address.port && first.heartbeatPort > first.port)
  const other = await client.describe({ machine: 'db', image: 'debian', avoidPorts: [first.port] })
  assert.notEqual(other.port, first.port)
  await client.create(creation({ port: first.port, heartbeatPort: first.heartbeatPort }))
  const next = await client.describe({ machine: 'web', image: 'debian', avoidPorts: [] })
  assert.ok(next.port > first.heartbeatPort)
})

test('a machine that is made has all that its process needs, and nobody else can read its secret', async (t) => {
  const { client, directory } = await connected(t)
  await client.create(creation({ allowFaults: true, translates: false }))
  const root = join(directory, 'machines', 'db')
  assert.equal(statSync(join(root, 'secret')).mode & 0o777, 0o600)
  assert.equal(readFileSync(join(root, 'secret'), 'utf8').trim(), '4'.repeat(64))
  const config = JSON.parse(readFileSync(join(root, 'host.json'), 'utf8')) as JsonObject
  assert.deepEqual(config['listen'], { host: '127.0.0.1', port: 7001 })
  assert.deepEqual(
    [config['host'], config['allowFaults'], config['translates'], config['heartbeatPort']],
    ['alpha', true, false, 7002],
  )
})

test('a machine that was never started can be made anew and removed; one that was, cannot', async (t) => {
  const { client, directory, state } = await connected(t)
  await client.create(creation())
  await client.create(creation({ port: 7010 }))
  await client.remove('db')
  assert.ok(!existsSync(join(directory, 'machines', 'db')))
  await client.create(creation())
  await client.start({ machine: 'db', mayRestart: true })
  await client.end('db')
  assert.equal((await state()).state, 'idle')
  await assert.rejects(client.create(creation()), /host alpha: there is a machine db already/)
  await assert.rejects(client.remove('db'), /host alpha: there is a machine db already/)
  const { isTaken } = await client.describe({ machine: 'db', image: 'debian', avoidPorts: [] })
  assert.equal(isTaken, true)
})

test('a machine whose directory was removed leaves its name free, and nothing else has its ports before', async (t) => {
  const { client, directory } = await connected(t)
  await client.create(creation())
  await client.start({ machine: 'db', mayRestart: true })
  rmSync(join(directory, 'machines', 'db'), { recursive: true })
  await assert.rejects(client.create(creation()), /there is a machine db already/, 'its process runs')
  // Its state cannot be written any more.
  await assert.rejects(client.end('db'), /host alpha: cannot write .*state\.json/)
  const { isTaken } = await client.describe({ machine: 'db', image: 'debian', avoidPorts: [] })
  assert.equal(isTaken, false)
  await client.create(creation())
})

test('of two machines that were described with the same ports only one is made', async (t) => {
  const { client, directory } = await connected(t)
  await client.create(creation())
  const record = newMachine({ harts: 1, ramBytes: 2 ** 26 }, 'debian', SMALL_IMAGE)
  const web = creation({ machine: 'web', definition: encodeMachineFile({ name: 'web', record }) })
  await assert.rejects(client.create(web), /port 7001 has been given to another machine meanwhile: try again/)
  assert.ok(!existsSync(join(directory, 'machines', 'web')))
  await client.create({ ...web, port: 7011, heartbeatPort: 7012, metricsPort: 7013 })
})

test('a machine whose process does not end holds up no other', async (t) => {
  const script = `if (process.argv.some((word) => word.includes('/db/'))) process.on('SIGTERM', () => {})
    console.log('hears not')
    setInterval(() => {}, 1000)`
  const { client, directory } = await connected(t, { script })
  const record = newMachine({ harts: 1, ramBytes: 2 ** 26 }, 'debian', SMALL_IMAGE)
  const definition = encodeMachineFile({ name: 'web', record })
  await client.create(creation())
  await client.create(
    creation({ machine: 'web', definition, port: 7011, heartbeatPort: 7012, metricsPort: 7013 }),
  )
  await client.start({ machine: 'db', mayRestart: true })
  await until('deaf', () =>
    /hears not/.test(readFileSync(join(directory, 'machines', 'db', 'host.log'), 'utf8')),
  )
  let hasEnded = false
  const ending = client.end('db').then(() => {
    hasEnded = true
  })
  await client.start({ machine: 'web', mayRestart: true })
  assert.equal(hasEnded, false)
  await ending
})

test('what cannot be removed is told, and the daemon goes on', async (t) => {
  const { client, directory } = await connected(t)
  await client.create(creation())
  chmodSync(join(directory, 'machines'), 0o500)
  const isRoot = process.getuid?.() === 0
  // Root may remove everything, and this process may be nobody for a while.
  if (isRoot) process.seteuid!(NOBODY)
  try {
    await assert.rejects(client.remove('db'), /host alpha: cannot remove .*permission denied/)
  } finally {
    if (isRoot) process.seteuid!(0)
  }
  chmodSync(join(directory, 'machines'), 0o700)
  await client.remove('db')
})

test('a process that dies is started again', async (t) => {
  const { client, state, notices } = await connected(t)
  await client.create(creation())
  await client.start({ machine: 'db', mayRestart: true })
  const { pid } = await state()
  process.kill(pid!, 'SIGKILL')
  await until('another process', async () => {
    const now = await state()
    return now.state === 'running' && now.pid !== pid
  })
  assert.ok(notices.some((line) => /its process has ended \(SIGKILL\) and is started again/.test(line)))
})

test('a process that ends in order is not started again, by no later daemon either, unless it is asked for', async (t) => {
  const first = await connected(t, { script: 'process.exit(process.argv.includes("--restart") ? 0 : 7)' })
  await first.client.create(creation())
  await first.client.start({ machine: 'db', mayRestart: true })
  await until('ended', async () => (await first.state()).state === 'ended')
  await first.close()
  const second = await connected(t, { directory: first.directory })
  assert.equal((await second.state()).state, 'ended')
  await second.client.start({ machine: 'db', mayRestart: true })
  assert.equal((await second.state()).state, 'running')
})

test('what is wanted runs again with the next daemon, and does not bring a stopped machine back', async (t) => {
  const first = await connected(t)
  await first.client.create(creation())
  await first.client.start({ machine: 'db', mayRestart: true })
  await first.close()
  const log = join(folder, 'words')
  const script = `require('fs').writeFileSync(${JSON.stringify(log)}, process.argv.join(' ')); setInterval(() => {}, 1000)`
  const second = await connected(t, { directory: first.directory, script })
  assert.equal((await second.state()).state, 'running')
  await until('its words', () => existsSync(log) && readFileSync(log, 'utf8') !== '')
  assert.match(readFileSync(log, 'utf8'), /host --config .*host\.json$/)
})

test('a process that a daemon has left behind is adopted by the next one, or ended if it is not wanted', async (t) => {
  const first = await connected(t)
  await first.client.create(creation())
  await first.client.start({ machine: 'db', mayRestart: true })
  await first.close()
  const leaveBehind = (): ChildProcess => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    t.after(() => child.kill('SIGKILL'))
    noteProcess(join(first.directory, 'machines', 'db', 'host.pid'), child.pid!)
    return child
  }
  const child = leaveBehind()
  const second = await connected(t, { directory: first.directory })
  assert.deepEqual(await second.state(), { machine: 'db', state: 'running', pid: child.pid! })
  await second.client.end('db')
  assert.equal(child.exitCode ?? child.signalCode, 'SIGTERM')
  await second.close()
  const other = leaveBehind()
  const third = await connected(t, { directory: first.directory })
  assert.equal((await third.state()).state, 'idle')
  await until('ended', () => other.signalCode === 'SIGTERM')
})

test('of two daemons of one host the second is refused', async (t) => {
  const { directory } = await connected(t)
  await assert.rejects(smallDaemon({ name: 'alpha', folder, directory }), /host alpha runs already/)
})

test('a daemon that cannot listen leaves no lock behind', async (t) => {
  const { daemon } = await connected(t)
  const directory = mkdtempSync(join(folder, 'late-'))
  const starting = HostDaemon.start({
    ...{ name: 'late', directory, secretFile: join(folder, 'secret'), listen: daemon.address },
    program: { command: process.execPath, parameters: [] },
    describeImage: () => Promise.resolve(SMALL_IMAGE),
    onNotice: () => {},
  })
  await assert.rejects(starting, /cannot listen/)
  const again = await smallDaemon({ name: 'late', folder, directory })
  await again.daemon.close()
})

test('a machine whose files are damaged is told, keeps its name, and hinders no other', async (t) => {
  const first = await connected(t)
  await first.client.create(creation())
  await first.close()
  writeFileSync(join(first.directory, 'machines', 'db', 'host.json'), '{"kind":')
  const second = await connected(t, { directory: first.directory })
  assert.ok(second.notices.some((line) => /machine db cannot be started: .*host\.json: not JSON/.test(line)))
  await assert.rejects(second.client.start({ machine: 'db', mayRestart: true }), /there is no machine db/)
})

test('requests that cannot be are refused, and the daemon goes on', async (t) => {
  const { client, directory } = await connected(t)
  const wrong: Partial<CreateRequest>[] = [
    { machine: '../elsewhere' },
    { machine: 'other' },
    { secret: 'abc' },
    { port: 0 },
    { definition: {} },
    { definition: { kind: 'understudy-machine', version: 1, name: 'db', machine: { harts: 99 } } },
    { settings: { suspicionMs: 1 } },
    { network: { kind: 'tap', interface: 'x'.repeat(99) } },
    { surplus: 1 } as Partial<CreateRequest>,
  ]
  for (const part of wrong)
    await assert.rejects(client.create(creation(part)), /^UserError: host alpha: /, JSON.stringify(part))
  assert.ok(!existsSync(join(directory, 'elsewhere')))
  await assert.rejects(client.start({ machine: 'none', mayRestart: true }), /there is no machine none/)
  await assert.rejects(client.prove('db', 'file:/no/such'), /host alpha: .*no such directory/)
  await client.create(creation())
})

test('garbage at the port is a line of the log and nothing else', async (t) => {
  const { daemon, client, notices } = await connected(t)
  const socket = connect(daemon.address.port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(Buffer.alloc(3000, 'garbage'))
  await once(socket, 'close')
  await until('a notice', () => notices.some((line) => /turned away/.test(line)))
  await client.create(creation())
})

test('whoever has another secret is refused, and so is a host of another name', async (t) => {
  const { daemon } = await connected(t)
  const stranger = await openCredentials({ secretFile: join(folder, 'other secret') })
  await assert.rejects(
    DaemonClient.connect(daemon.address, stranger),
    /^UserError: host 127\.0\.0\.1:\d+: cannot be asked: .*the shared secret is not the same/,
  )
  await assert.rejects(
    DaemonClient.connect(daemon.address, credentials, 'beta'),
    /^UserError: host beta: host alpha answers at 127\.0\.0\.1:\d+/,
  )
})
