import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import type { JsonObject } from '../../base/canonical_json.ts'
import { FormatError, UserError } from '../../base/errors.ts'
import { type ControlMethod, ControlServer, controlMethod } from '../../host/control_server.ts'
import { openArbiter } from '../../host/open_arbiter.ts'
import { openCredentials } from '../../host/secure_credentials.ts'
import { listenSecure } from '../../host/secure_listener.ts'
import { SMALL_IMAGE, type SmallDaemon, smallDaemon } from '../testing/small_daemon.ts'
import { DAEMON_NAME, DAEMON_TERMS, type HostDescription } from './daemon_protocol.ts'
import type { Address, HostConfig } from './host_config.ts'
import { Pair } from './pair.ts'
import { pairDifference } from './pair_difference.ts'
import { type PlacementOptions, placePair } from './pair_placement.ts'
import { softwareBuild } from './software_build.ts'

let folder: string
let secretFile: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'placement-'))
  secretFile = join(folder, 'secret')
})
after(() => rmSync(folder, { recursive: true }))

async function daemonOf(t: TestContext, name: string, image = SMALL_IMAGE): Promise<SmallDaemon> {
  const small = await smallDaemon({ name, folder, image })
  t.after(() => small.daemon.close())
  return small
}

type Answers = Readonly<Record<string, (parameters: object) => unknown>>

/** What answers at a daemon's address as this says. */
async function fakeDaemon(t: TestContext, answers: Answers, info = { name: 'beta' }): Promise<Address> {
  const method = (answer: (parameters: object) => unknown): ControlMethod =>
    controlMethod(
      (parameters) => parameters,
      async (parameters) => answer(parameters) as never,
    )
  const methods = Object.fromEntries(Object.entries(answers).map(([name, answer]) => [name, method(answer)]))
  const control = new ControlServer(methods, () => {})
  const listener = await listenSecure({
    ...{ credentials: await openCredentials({ secretFile }), name: DAEMON_NAME },
    ...{ host: '127.0.0.1', port: 0, onNotice: () => {} },
    services: {
      control: {
        ...{ terms: () => DAEMON_TERMS, info: () => info },
        accept: (stream, peer) => control.accept(stream, peer.name),
      },
    },
  })
  t.after(() => listener.close())
  return { host: '127.0.0.1', port: listener.port }
}

async function leaveMark(parameters: object): Promise<JsonObject> {
  const { machine, arbiter } = parameters as { machine: string; arbiter: string }
  const { arbiter: opened, storage } = await openArbiter(arbiter, machine)
  const nonce = await storage.writeNonce('beta')
  opened.close()
  return { nonce, hasDecisions: false }
}

const DESCRIPTION: HostDescription = {
  ...{ name: 'beta', build: softwareBuild(), listenHost: '127.0.0.1' },
  ...{ port: 7101, heartbeatPort: 7102, metricsPort: 7103, isTaken: false, image: SMALL_IMAGE },
}
const FIT: Answers = {
  describe: () => DESCRIPTION,
  prove: leaveMark,
  findNonce: () => ({ isFound: true }),
  create: () => ({}),
  remove: () => ({}),
}

function options(
  daemons: readonly [Address, Address],
  part: Partial<PlacementOptions> = {},
): PlacementOptions {
  return {
    ...{ name: 'db', image: 'debian', append: 'quiet', ramBytes: 2 ** 26, harts: 1, forwards: ['0:80'] },
    ...{ settings: {}, arbiter: `file:${mkdtempSync(join(folder, 'arbiter-'))}`, daemons, secretFile },
    ...part,
  }
}

const newRoot = (): string => mkdtempSync(join(folder, 'operator-'))

test('a pair at two hosts is made at both, and written down', async (t) => {
  const [alpha, beta] = [await daemonOf(t, 'alpha'), await daemonOf(t, 'beta')]
  const root = newRoot()
  const pair = await placePair(root, options([alpha.daemon.address, beta.daemon.address]))
  assert.deepEqual(Pair.open(root, 'db').file, pair.file)
  assert.deepEqual(pair.hostNames, ['alpha', 'beta'])
  assert.deepEqual(pair.processes, ['gateway'])
  assert.deepEqual(pair.file.daemons?.addresses, {
    ...{ alpha: alpha.daemon.address, beta: beta.daemon.address },
  })
  const configs = [alpha, beta].map(({ directory }): HostConfig => {
    return JSON.parse(readFileSync(join(directory, 'machines', 'db', 'host.json'), 'utf8')) as HostConfig
  })
  assert.deepEqual(
    configs.map(({ mayCreate }) => mayCreate),
    [true, false],
  )
  assert.deepEqual(configs[0]!.peers, { beta: configs[1]!.listen })
  assert.deepEqual(configs[1]!.peers, { alpha: configs[0]!.listen })
  assert.deepEqual(configs[0]!.network, { kind: 'gateway', name: 'gateway', ...pair.file.gateway!.listen })
  const ports = configs.flatMap(({ listen, heartbeatPort }) => [listen.port, heartbeatPort])
  assert.equal(new Set(ports).size, 4)
  const [ofAlpha, ofBeta] = [alpha, beta].map(({ directory }) =>
    ['secret', 'machine.json'].map((name) => readFileSync(join(directory, 'machines', 'db', name), 'utf8')),
  )
  assert.deepEqual(ofAlpha, ofBeta)
  assert.match(ofAlpha![1]!, /root=\/dev\/vda quiet/)
})

test('a pair at two hosts is the one that is asked for if the hosts are the same', async (t) => {
  const [alpha, beta] = [await daemonOf(t, 'alpha'), await daemonOf(t, 'beta')]
  const pair = await placePair(
    newRoot(),
    options([alpha.daemon.address, beta.daemon.address], { isRecorded: true }),
  )
  const [a, b] = [alpha, beta].map(({ daemon }) => `127.0.0.1:${daemon.address.port}`)
  assert.equal(pairDifference(pair, { hosts: [b!, a!], isRecorded: true, image: 'debian' }), undefined)
  assert.equal(pairDifference(pair, { hosts: [a!, '127.0.0.1:1'] }), 'hosts')
  assert.equal(pairDifference(pair, { gatewayListen: '10.0.0.1' }), 'gateway address')
  assert.equal(pairDifference(pair, { isRecorded: false }), 'recordings')
})

test('what cannot be is refused in a line that names the host, and leaves nothing behind', async (t) => {
  const { daemon, directory } = await daemonOf(t, 'alpha')
  const a = daemon.address
  const beta = (answers: Answers = {}): Promise<Address> => fakeDaemon(t, { ...FIT, ...answers })
  const describe = (part: Partial<HostDescription>): Promise<Address> =>
    beta({ describe: () => ({ ...DESCRIPTION, ...part }) })
  const otherImage = { ...SMALL_IMAGE, disk: '9'.repeat(64) }
  const cases: [[Address, Address], RegExp][] = [
    [[a, a], /are both host alpha: two copies on one host protect from nothing/],
    [[a, { host: '127.0.0.1', port: 1 }], /host 127\.0\.0\.1:1: cannot be asked: .*no process listens there/],
    [[a, { host: '192.0.2.1', port: 1 }], /host 192\.0\.2\.1:1 cannot reach 127\.0\.0\.1:\d+/],
    [[a, await describe({ build: 'other' })], /host beta: another build of Understudy \(other, here /],
    [[a, await describe({ isTaken: true })], /host beta: there is a machine db already/],
    [
      [a, await describe({ image: { problem: "there is no image 'debian'" } })],
      /host beta: there is no image 'debian'; copy the directory images\/debian/,
    ],
    [
      [a, await describe({ image: otherImage })],
      /different images debian \(disk 333333333333 and 999999999999\)/,
    ],
    [[a, await describe({ name: 'gamma' })], /host beta: it describes gamma/],
    [
      [a, await beta({ findNonce: () => ({ isFound: false }) })],
      /is not shared: host beta does not find there what host alpha has written/,
    ],
    [
      [a, await beta({ prove: () => ({ nonce: '0'.repeat(32), hasDecisions: false }) })],
      /is not shared: host alpha does not find there what host beta has written/,
    ],
    [
      [a, await beta({ prove: () => ({ nonce: '0'.repeat(32), hasDecisions: true }) })],
      /has decided about a machine db/,
    ],
    [[a, await fakeDaemon(t, FIT, { name: 'operator' })], /host operator answers at/],
  ]
  for (const [daemons, reason] of cases) {
    const root = newRoot()
    await assert.rejects(placePair(root, options(daemons)), (error: Error) => {
      assert.ok(error instanceof UserError, String(error))
      assert.match(error.message, reason)
      return !error.message.includes('\n')
    })
    assert.deepEqual(readdirSync(root), [])
    assert.deepEqual(readdirSync(join(directory, 'machines')), [])
  }
})

test('a gateway that the hosts cannot reach is refused', async (t) => {
  const at = (name: string, listenHost: string): Promise<Address> =>
    fakeDaemon(t, { ...FIT, describe: () => ({ ...DESCRIPTION, name, listenHost }) }, { name })
  const daemons = [await at('alpha', '10.0.0.8'), await at('beta', '10.0.0.9')] as const
  for (const part of [{}, { gatewayListen: '127.0.0.1' }, { gatewayListen: '0.0.0.0' }]) {
    const root = newRoot()
    await assert.rejects(
      placePair(root, options(daemons, part)),
      /host alpha cannot reach the gateway at 127\.0\.0\.1: .*--gateway-listen/,
    )
    assert.deepEqual(readdirSync(root), [])
  }
  const { file } = await placePair(newRoot(), options(daemons, { network: { kind: 'none' } }))
  assert.deepEqual(file.network, { kind: 'none' })
})

test('an answer that is none is refused as what a host has said', async (t) => {
  const { daemon } = await daemonOf(t, 'alpha')
  for (const answer of [null, [], 'x', {}, { ...DESCRIPTION, port: -1 }, { ...DESCRIPTION, more: 1 }]) {
    const b = await fakeDaemon(t, { ...FIT, describe: () => answer })
    await assert.rejects(placePair(newRoot(), options([daemon.address, b])), (error: Error) => {
      assert.ok(error instanceof FormatError, String(error))
      return /^host beta: answer to describe: /.test(error.message)
    })
  }
})

test('if the second host cannot make its part, the first one has none any more', async (t) => {
  const { daemon, directory, notices } = await daemonOf(t, 'alpha')
  const b = await fakeDaemon(t, {
    ...FIT,
    create: () => {
      throw new UserError('the disk is full')
    },
  })
  const root = newRoot()
  await assert.rejects(
    placePair(root, options([daemon.address, b])),
    /^UserError: host beta: the disk is full$/,
  )
  assert.ok(notices.some((line) => line.includes('machine db: is made')))
  assert.deepEqual(readdirSync(join(directory, 'machines')), [])
  assert.deepEqual(readdirSync(root), [])
})

test('what was in the directory before is not removed with what could not be made', async (t) => {
  const { daemon } = await daemonOf(t, 'alpha')
  const root = newRoot()
  mkdirSync(join(root, 'db'))
  writeFileSync(join(root, 'db', 'precious'), '')
  const b = await fakeDaemon(t, { ...FIT, create: () => Promise.reject(new UserError('no')) })
  await assert.rejects(placePair(root, options([daemon.address, b])), /host beta: no/)
  assert.ok(existsSync(join(root, 'db', 'precious')))
})

test('a secret that is not there is not made: nobody else would have it', async (t) => {
  const { daemon } = await daemonOf(t, 'alpha')
  const missing = join(folder, 'no secret')
  const placing = placePair(newRoot(), options([daemon.address, daemon.address], { secretFile: missing }))
  await assert.rejects(placing, /no secret at .*no secret: copy there what the hosts share/)
  assert.ok(!existsSync(missing))
})
