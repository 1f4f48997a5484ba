/** The arbiter that is etcd, with real servers. */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { type EtcdOptions, openArbiter } from '../../src/host/open_arbiter.ts'
import type { Arbiter } from '../../src/replication/arbiter.ts'
import { lacks } from '../guest_process.ts'
import { assertRefused, decide, latest, read, until } from './ask.ts'
import { type Fixture, testContract } from './contract.ts'
import { EtcdProcess, freePorts, makeCertificates, post } from './etcd_process.ts'
import { Relay } from './relay.ts'

const skip = lacks('etcd') || lacks('openssl')

const directory = mkdtempSync(join(tmpdir(), 'etcd-arbiter-'))
const opened: Arbiter[] = []
const relays: Relay[] = []
const running: EtcdProcess[] = []

function closeAll(): void {
  for (const arbiter of opened.splice(0)) arbiter.close()
  for (const relay of relays.splice(0)) relay.close()
}

async function stopAll(): Promise<void> {
  closeAll()
  await Promise.all(running.splice(0).map((etcd) => etcd.kill()))
}

after(async () => {
  await stopAll()
  rmSync(directory, { recursive: true })
})

async function open(
  urls: string,
  machine: string,
  etcd: EtcdOptions = {},
  timeoutMs = 5000,
): Promise<Arbiter> {
  const { arbiter } = await openArbiter(`etcd:${urls}`, machine, { timeoutMs, etcd })
  opened.push(arbiter)
  return arbiter
}

async function newRelay(etcd: EtcdProcess): Promise<Relay> {
  const relay = await Relay.start(etcd.setting.clientPort)
  relays.push(relay)
  return relay
}

let count = 0
/** A server, not started, with data of its own. */
async function newEtcd(setting: Partial<EtcdProcess['setting']> = {}): Promise<EtcdProcess> {
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number]
  const etcd = new EtcdProcess({ directory: join(directory, `${++count}`), clientPort, peerPort, ...setting })
  running.push(etcd)
  return etcd
}

describe('the arbiter that is etcd', { skip }, () => {
  let etcd: EtcdProcess
  before(async () => {
    etcd = await newEtcd()
    await etcd.start()
  })
  after(stopAll)

  it('tells clusters apart by what one host leaves for the other, also where their numbers are the same', async () => {
    const number = async (url: string): Promise<unknown> =>
      JSON.parse((await post(`${url}/v3/kv/range`, { key: 'AA==' })).body).header.cluster_id
    const one = await newEtcd()
    await one.start()
    const [a, b] = [await openArbiter(`etcd:${one.url}`, 'm'), await openArbiter(`etcd:${one.url}`, 'm')]
    opened.push(a.arbiter, b.arbiter)
    const nonce = await a.storage.writeNonce('a')
    assert.equal(await b.storage.hasNonce('a', nonce), true)
    assert.equal(await b.storage.hasNonce('b', nonce), false)
    assert.equal(await b.storage.hasNonce('a', '0'.repeat(32)), false)
    assert.deepEqual(await read(b.arbiter), { kind: 'current', decision: undefined })
    const before = await number(one.url)
    await one.kill()
    const { clientPort, peerPort } = one.setting
    const other = await newEtcd({ clientPort, peerPort })
    await other.start()
    assert.match(`${before}`, /^\d+$/)
    assert.equal(await number(other.url), before)
    assert.equal(await b.storage.hasNonce('a', nonce), false)
    await other.kill()
    await assert.rejects(b.storage.hasNonce('a', nonce), /^UserError: 127\.0\.0\.1:\d+: .*/)
  })

  const fixture: Fixture = {
    open: (machine) => open(etcd.url, machine),

    async openThatLosesAnswer(machine) {
      const relay = await newRelay(etcd)
      const arbiter = await open(relay.url, machine)
      let isFirst = true
      return {
        read: (onAnswer) => arbiter.read(onAnswer),
        propose: (expected, proposed, onAnswer) => {
          if (isFirst) relay.loseAnswers()
          isFirst = false
          arbiter.propose(expected, proposed, (answer) => {
            relay.pass()
            onAnswer(answer)
          })
        },
        close: () => arbiter.close(),
      }
    },

    async openThatIsLate(machine) {
      const relay = await newRelay(etcd)
      // The proposal waits longer than its sender does.
      const arbiter = await open(relay.url, machine, {}, 300)
      const held = relay.holdRequests()
      return {
        arbiter,
        isHeld: held.then(() => new Promise((resolve) => setTimeout(() => resolve(true), 500))),
        release: () => relay.pass(),
      }
    },

    closeAll,
  }
  testContract(fixture)
})

describe('an etcd that comes back', { skip }, () => {
  afterEach(stopAll)

  it('is trusted when it was killed and has its data', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const arbiter = await open(etcd.url, 'm')
    let decision = await decide(arbiter, undefined, 'first')
    for (let i = 0; i < 3; i++) {
      await etcd.kill()
      assertRefused(
        await read(arbiter),
        'unreachable',
        /^127\.0\.0\.1:\d+: .*(ECONNREFUSED|hang up|ECONNRESET)/,
      )
      await etcd.start()
      assert.deepEqual(await latest(arbiter), decision)
      decision = await decide(arbiter, decision, `after restart ${i}`)
    }
  })

  it('is not trusted with older data, also after others have gone on with these', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const [arbiter, idle] = [await open(etcd.url, 'm'), await open(etcd.url, 'm')]
    const first = await decide(arbiter, undefined, 'first')
    await etcd.kill()
    cpSync(etcd.setting.directory, `${etcd.setting.directory}.backup`, { recursive: true })
    await etcd.start()
    const second = await decide(arbiter, first, 'second')
    assert.deepEqual(await latest(idle), second)
    await etcd.kill()
    rmSync(etcd.setting.directory, { recursive: true })
    cpSync(`${etcd.setting.directory}.backup`, etcd.setting.directory, { recursive: true })
    await etcd.start()
    assertRefused(await read(arbiter), 'untrusted', /forgotten decision 2: now its latest is 1/)
    // Who has not seen more cannot know.
    const other = await open(etcd.url, 'm')
    assert.deepEqual(await latest(other), first)
    await decide(other, first, 'another second')
    assertRefused(await read(idle), 'untrusted', /decision 2 is another one than before/)
    assertRefused(await read(arbiter), 'untrusted', /forgotten decision 2/)
  })

  it('is not trusted when only its revisions have gone back', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const arbiter = await open(etcd.url, 'm')
    const first = await decide(arbiter, undefined, 'first')
    await etcd.kill()
    cpSync(etcd.setting.directory, `${etcd.setting.directory}.backup`, { recursive: true })
    await etcd.start()
    await decide(await open(etcd.url, 'another'), undefined, 'first')
    assert.deepEqual(await latest(arbiter), first)
    await etcd.kill()
    rmSync(etcd.setting.directory, { recursive: true })
    cpSync(`${etcd.setting.directory}.backup`, etcd.setting.directory, { recursive: true })
    await etcd.start()
    assertRefused(await read(arbiter), 'untrusted', /forgotten revisions/)
  })

  it('is not trusted when others have gone on with older data, and beyond what was seen', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const arbiter = await open(etcd.url, 'm')
    const write = (key: string): Promise<unknown> =>
      post(`${etcd.url}/v3/kv/put`, { key: btoa(key), value: '' })
    const first = await decide(arbiter, undefined, 'first')
    await etcd.kill()
    cpSync(etcd.setting.directory, `${etcd.setting.directory}.backup`, { recursive: true })
    await etcd.start()
    const second = await decide(arbiter, first, 'second')
    for (const key of ['a', 'b']) await write(key)
    assert.deepEqual(await latest(arbiter), second)
    await etcd.kill()
    rmSync(etcd.setting.directory, { recursive: true })
    cpSync(`${etcd.setting.directory}.backup`, etcd.setting.directory, { recursive: true })
    await etcd.start()
    const other = await open(etcd.url, 'm')
    await decide(other, await decide(other, first, 'another second'), 'third')
    for (const key of ['a', 'b', 'c', 'd', 'e']) await write(key)
    assertRefused(await read(arbiter), 'untrusted', /it has a decision from before, when there was none/)
  })

  it('is not trusted when it is another cluster', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const arbiter = await open(etcd.url, 'm')
    await decide(arbiter, undefined, 'first')
    await etcd.kill()
    const successor = await newEtcd({
      ...etcd.setting,
      directory: join(directory, 'another'),
      token: 'another',
    })
    await successor.start()
    await decide(await open(etcd.url, 'm'), undefined, 'first')
    assertRefused(
      await read(arbiter),
      'untrusted',
      /another one than before: cluster \d+ instead of cluster \d+/,
    )
  })

  it('is not trusted when it has lost its data', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const arbiter = await open(etcd.url, 'm')
    await decide(arbiter, undefined, 'first')
    await etcd.kill()
    rmSync(etcd.setting.directory, { recursive: true })
    await etcd.start()
    assertRefused(await read(arbiter), 'untrusted', /forgotten decision 1: now it has none/)
  })

  it('is not trusted when the key was removed, replaced or written by something else', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const key = Buffer.from('/understudy/m').toString('base64')
    const range = async (): Promise<string> =>
      JSON.parse((await post(`${etcd.url}/v3/kv/range`, { key })).body).kvs[0].value
    const first = await decide(await open(etcd.url, 'm'), undefined, 'first')
    const value = await range()
    const members = await Promise.all([1, 2, 3].map(() => open(etcd.url, 'm')))
    for (const member of members) assert.deepEqual(await latest(member), first)

    await post(`${etcd.url}/v3/kv/put`, { key, value: Buffer.from('x').toString('base64') })
    assertRefused(await read(members[0]!), 'untrusted', /etcd's key \/understudy\/m: damaged/)
    await post(`${etcd.url}/v3/kv/put`, { key, value })
    assertRefused(await read(members[0]!), 'untrusted', /changed by something else/)

    await post(`${etcd.url}/v3/kv/deleterange`, { key })
    assertRefused(await read(members[1]!), 'untrusted', /forgotten decision 1: now it has none/)
    await decide(await open(etcd.url, 'm'), undefined, 'first')
    assertRefused(await read(members[2]!), 'untrusted', /the key was removed/)
  })
})

describe('an etcd cluster of three', { skip }, () => {
  afterEach(stopAll)

  it('goes on without one member, says that it cannot without two, and goes on when one is back', async () => {
    const ports = await freePorts(6)
    const names = ['a', 'b', 'c']
    const cluster = names.map((name, i) => `${name}=http://127.0.0.1:${ports[i + 3]}`).join(',')
    const members = await Promise.all(
      names.map((name, i) =>
        newEtcd({
          name,
          cluster,
          clientPort: ports[i]!,
          peerPort: ports[i + 3]!,
          directory: join(directory, 'three'),
        }),
      ),
    )
    await Promise.all(members.map((member) => member.start()))
    const arbiter = await open(members.map(({ url }) => url).join(','), 'm', {}, 1500)
    let decision = await decide(arbiter, undefined, 'three')
    await members[0]!.kill()
    /** Proposes until there is an outcome; an election takes its time. */
    const goOn = async (text: string): Promise<void> => {
      const expected = decision
      decision = { epoch: expected.epoch + 1, text }
      await until(async () => {
        const answer = await new Promise<Awaited<ReturnType<typeof read>>>((resolve) =>
          arbiter.propose(expected, decision, resolve),
        )
        if (answer.kind === 'unreachable') return undefined
        assert.deepEqual(answer, { kind: 'current', decision })
        return true
      })
    }
    await goOn('two')
    await members[1]!.kill()
    assertRefused(await read(arbiter), 'unreachable', /:\d+: .*; 127\.0\.0\.1:\d+: .*; /)
    await members[1]!.start()
    await goOn('two again')
    assert.deepEqual(await latest(await open(members[2]!.url, 'm')), decision)
  })
})

describe('an etcd that wants to know who asks', { skip }, () => {
  afterEach(stopAll)

  it('is asked with client certificates, and trusted only if its own is of the authority', async () => {
    makeCertificates(directory, 'ca', ['server', 'client'])
    makeCertificates(directory, 'foreign', ['stranger'])
    const file = (name: string): string => join(directory, name)
    const etcd = await newEtcd({
      tls: { ca: file('ca.pem'), certificate: file('server.pem'), key: file('server.key') },
    })
    await etcd.start()
    const client = { certificateFile: file('client.pem'), keyFile: file('client.key') }
    const arbiter = await open(etcd.url, 'm', { caFile: file('ca.pem'), ...client })
    await decide(arbiter, undefined, 'first')
    const foreign = await open(etcd.url, 'm', { caFile: file('foreign.pem'), ...client })
    assertRefused(await read(foreign), 'unreachable', /unable to verify the first certificate|self.signed/)
    const nameless = await open(etcd.url, 'm', { caFile: file('ca.pem') })
    assertRefused(await read(nameless), 'unreachable', /certificate|ECONNRESET/)
    const stranger = { certificateFile: file('stranger.pem'), keyFile: file('stranger.key') }
    assertRefused(
      await read(await open(etcd.url, 'm', { caFile: file('ca.pem'), ...stranger })),
      'unreachable',
      /certificate|authority|ECONNRESET/,
    )
    const mixed = { certificateFile: file('client.pem'), keyFile: file('stranger.key') }
    await assert.rejects(
      open(etcd.url, 'm', mixed),
      /^UserError: etcd certificates \(.*client\.pem, .*stranger\.key\)/,
    )
  })

  it('is asked with a password, and with a new token when it has forgotten the old one', async () => {
    const etcd = await newEtcd()
    await etcd.start()
    const call = async (path: string, body: object, authorization = ''): Promise<{ token?: string }> => {
      const headers = authorization === '' ? {} : { authorization }
      const { status, body: text } = await post(`${etcd.url}/v3/auth/${path}`, body, headers)
      assert.equal(status, 200, text)
      return JSON.parse(text)
    }
    const [key, end] = ['/understudy/', '/understudy0'].map((text) => Buffer.from(text).toString('base64'))
    for (const name of ['root', 'u']) {
      await call('user/add', { name, password: `secret of ${name}` })
      await call('role/add', { name })
      await call('user/grant', { user: name, role: name })
    }
    await call('role/grant', { name: 'u', perm: { permType: 'READWRITE', key, range_end: end } })
    await call('enable', {})
    const login = { user: 'u', password: 'secret of u' }
    const arbiter = await open(etcd.url, 'm', { login })
    const first = await decide(arbiter, undefined, 'first')
    await etcd.kill()
    await etcd.start()
    const second = await decide(arbiter, first, 'second')
    // A new password, though it is the same, makes the user's tokens invalid.
    const { token } = await call('authenticate', { name: 'root', password: 'secret of root' })
    await call('user/changepw', { name: 'u', password: login.password }, token)
    await decide(arbiter, second, 'third')
    const refusals: [EtcdOptions, RegExp][] = [
      [{}, /user name is empty/],
      [{ login: { user: 'u', password: 'wrong' } }, /invalid user ID or password/],
      [{ login, prefix: '/elsewhere/' }, /permission denied/],
    ]
    for (const [options, reason] of refusals) {
      assertRefused(await read(await open(etcd.url, 'm', options)), 'unreachable', reason)
    }
  })
})
