import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { BaseImage } from '../../host/base_image.ts'
import { MachineDirectory } from '../../host/machine_directory.ts'
import { digestsOf } from '../boot_files.ts'
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
