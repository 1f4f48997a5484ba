import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { smallDaemon } from '../testing/small_daemon.ts'
import type { Pair } from './pair.ts'
import { placePair } from './pair_placement.ts'
import { PairRun } from './pair_run.ts'
import { RemoteHosts } from './remote_hosts.ts'

const WAIT_MS_MAX = 60_000

let folder: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'remote-hosts-'))
})
after(() => rmSync(folder, { recursive: true }))

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + WAIT_MS_MAX; !isSo(); ) {
    assert.ok(performance.now() < end, `it does not come to this: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const stateAt = (directory: string): string =>
  (JSON.parse(readFileSync(join(directory, 'machines', 'db', 'state.json'), 'utf8')) as { state: string })
    .state

test('hosts are asked to start until they have heard, and the machine is over when one has seen its end', async (t) => {
  const script = `setInterval(() => { if (fs.existsSync(${JSON.stringify(join(folder, 'over'))})) process.exit(0) }, 20)`
  const [alpha, beta] = [
    await smallDaemon({ name: 'alpha', folder, script }),
    await smallDaemon({ name: 'beta', folder }),
  ]
  t.after(() => alpha.daemon.close())
  const { address } = beta.daemon
  const pair: Pair = await placePair(mkdtempSync(join(folder, 'operator-')), {
    ...{ name: 'db', image: 'debian', append: '', ramBytes: 2 ** 26, harts: 1, forwards: [], settings: {} },
    ...{ arbiter: `file:${mkdtempSync(join(folder, 'arbiter-'))}`, daemons: [alpha.daemon.address, address] },
    secretFile: join(folder, 'secret'),
  })
  await beta.daemon.close()
  const notices: string[] = []
  const hosts = await RemoteHosts.open(pair, (text) => notices.push(text))
  assert.ok(hosts !== undefined)
  hosts.start()
  await until('one is told to be away', () => notices.length > 0)
  await until('the other is started', () => stateAt(alpha.directory) === 'wanted')
  assert.match(notices[0]!, /^host beta: cannot be asked: .*no process listens there/)
  const again = await smallDaemon({ name: 'beta', folder, directory: beta.directory, port: address.port })
  t.after(() => again.daemon.close())
  await until('both are started', () => stateAt(beta.directory) === 'wanted')
  assert.equal(hosts.isOver, false)
  assert.equal(notices.length, 1)
  hosts.leave()
  assert.deepEqual([stateAt(alpha.directory), stateAt(beta.directory)], ['wanted', 'wanted'])
  const next = (await RemoteHosts.open(pair, (text) => notices.push(text)))!
  next.start()
  writeFileSync(join(folder, 'over'), '')
  await until('over', () => next.isOver)
  await next.end()
  assert.deepEqual([stateAt(alpha.directory), stateAt(beta.directory)], ['ended', 'halted'])
})

test('a secret that is not there any more is not made anew: the hosts would not know it', async (t) => {
  const [alpha, beta] = [
    await smallDaemon({ name: 'alpha', folder }),
    await smallDaemon({ name: 'beta', folder }),
  ]
  for (const { daemon } of [alpha, beta]) t.after(() => daemon.close())
  const secretFile = join(folder, 'moved')
  copyFileSync(join(folder, 'secret'), secretFile)
  const pair: Pair = await placePair(mkdtempSync(join(folder, 'operator-')), {
    ...{ name: 'db', image: 'debian', append: '', ramBytes: 2 ** 26, harts: 1, forwards: [], settings: {} },
    ...{ arbiter: `file:${mkdtempSync(join(folder, 'arbiter-'))}`, secretFile },
    daemons: [alpha.daemon.address, beta.daemon.address],
  })
  rmSync(secretFile)
  await assert.rejects(
    PairRun.start(pair, { command: process.execPath, parameters: ['-e', 'setInterval(() => {}, 1000)'] }),
    /no secret at .*moved: copy there what the hosts share/,
  )
  assert.ok(!existsSync(secretFile))
  assert.ok(!existsSync(pair.logPath('gateway')), 'nothing was started')
})
