import assert from 'node:assert/strict'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { BaseImage } from '../../host/base_image.ts'
import { MachineDirectory } from '../../host/machine_directory.ts'
import { makeAuthority } from '../../host/testing/authority.ts'
import { digestsOf } from '../boot_files.ts'
import { smallHosts, until } from '../testing/small_hosts.ts'
import { smallImage } from '../testing/small_image.ts'
import { startGateway } from './gateway_process.ts'
import { runHost } from './host_process.ts'
import { freePorts, isFreePort } from './loopback_ports.ts'
import { writeMachineFile } from './machine_file.ts'

let folder: string
/** Has the port that others want. */
let stranger: Server
let taken: { host: string; port: number }
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'host-process-'))
  stranger = createServer().listen(0, '127.0.0.1')
  await once(stranger, 'listening')
  taken = { host: '127.0.0.1', port: (stranger.address() as AddressInfo).port }
})
after(() => {
  stranger.close()
  rmSync(folder, { recursive: true })
})

test('a host whose port is taken takes no part, and leaves nothing behind', async () => {
  const image = await smallImage(folder, 'again: wfi; j again')
  const base = await BaseImage.open(image.disk)
  const specification = {
    ...{ harts: 1, ramBytes: 64 * 2 ** 20, bootArguments: '', rngSeed: new Uint8Array(32) },
    diskSectors: base.sectors,
  }
  const machineFile = join(folder, 'machine.json')
  const record = { specification, image: image.name, ...digestsOf(image, base) }
  await writeMachineFile(machineFile, { name: 'small', record })
  await base.close()
  const arbiter = join(folder, 'arbiter')
  mkdirSync(arbiter)
  const notices: string[] = []
  const running = runHost(
    {
      ...{ kind: 'understudy-host', version: 1, machine: 'small', host: 'a', directory: folder, machineFile },
      ...{ listen: taken, peers: {}, arbiter: `file:${arbiter}`, mayCreate: true, settings: {} },
      ...{ credentials: { secretFile: join(folder, 'secret') }, network: { kind: 'none' } },
    },
    {
      ...{ findImage: () => image, mayRestart: false, isForced: false },
      onNotice: (text) => notices.push(text),
    },
  )
  await assert.rejects(running, /cannot listen at 127.0.0.1 port \d+: it is in use/)
  const directory = await MachineDirectory.open(folder, 'small', () => {})
  await directory.close()
  const decisions = readdirSync(arbiter, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)0*1$/.test(name),
  )
  assert.deepEqual([decisions, notices], [[], []])
})

test('a host whose arbiter is a copy of the directory is refused, and both sides say why', async (t) => {
  const { a, arbiter, said, start } = await smallHosts(t, folder)
  const copy = `${arbiter}-copy`
  cpSync(arbiter, copy, { recursive: true })
  await start('b', copy)
  const refusal = /the arbiter is another one than that of/g
  await until('refused', () => [said.a, said.b].every((text) => text.match(refusal) !== null))
  assert.match(said.b, /no channel to a: .*refused: the arbiter is another one than that of b/)
  assert.match(JSON.stringify(a.protection), /need backup/)
})

test('hosts that know each other by certificates go on when the primary is gone, and are protected again', async (t) => {
  const authority = makeAuthority(folder, { a: [], b: [] })
  const { a, arbiter, said, start, stop } = await smallHosts(t, folder, {
    credentialsOf: (host) => authority.files(host),
  })
  const b = await start('b', arbiter)
  await until('protected', () => a.protection.state === 'protected')
  await stop(a)
  await until('served by the other host', () => /need backup/.test(JSON.stringify(b.protection)))
  await start('a', arbiter)
  await until('protected again', () => b.protection.state === 'protected')
  assert.doesNotMatch(`${said.a}${said.b}`, /certificate|turned away|no channel/)
})

/** Cuts as many connections as come, as the system does for a process that dies, and relays the others. */
async function cutting(t: TestContext, count: number, target: number) {
  let accepted = 0
  const server = createServer((client) => {
    client.on('error', () => {})
    if (++accepted <= count) return void client.destroy()
    const relayed = connect(target, '127.0.0.1').on('error', () => {})
    client.pipe(relayed).pipe(client)
    client.on('close', () => relayed.destroy())
    relayed.on('close', () => client.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  return { port, accepted: () => accepted }
}

test('a dial that is cut off is tried again, and nothing is said of it', async (t) => {
  const { a, arbiter, said, start, portOfA } = await smallHosts(t, folder)
  const { port, accepted } = await cutting(t, 3, portOfA)
  await start('b', arbiter, port)
  await until('protected', () => a.protection.state === 'protected')
  assert.ok(accepted() > 3, `${accepted()} connections`)
  assert.doesNotMatch(said.b, /no channel/)
})

test('a dial that is cut off again and again is given up, and that is said', async (t) => {
  const { arbiter, said, start, portOfA } = await smallHosts(t, folder)
  const { port, accepted } = await cutting(t, Infinity, portOfA)
  await start('b', arbiter, port)
  await until('told', () => /no channel to a: /.test(said.b))
  assert.ok(accepted() >= 5, `told after ${accepted()} connections`)
})

test('a gateway whose port is taken gives back the ports of its forwards', async () => {
  const [port] = await freePorts(1)
  const starting = startGateway(
    {
      ...{ kind: 'understudy-gateway', version: 1, machine: 'small', listen: taken },
      ...{ secretFile: join(folder, 'secret'), forwards: [`${port}:80`], allowLoopback: false },
    },
    () => {},
  )
  await assert.rejects(starting, /cannot listen/)
  assert.equal(await isFreePort(port!), true)
})
