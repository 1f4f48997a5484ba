/** Both hosts of a small machine in the test's own process. */
import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { CredentialsOptions } from '../../host/secure_credentials.ts'
import { openHost, type RunningHost } from '../host/host_process.ts'
import { freePorts } from '../host/loopback_ports.ts'
import { writeMachineFile } from '../host/machine_file.ts'
import { newMachine } from '../host/pair.ts'
import { describeImage } from '../image_description.ts'
import { smallImage } from './small_image.ts'

const WAIT_MS_MAX = 120_000

export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + WAIT_MS_MAX; !(await isSo()); ) {
    assert.ok(performance.now() < end, `it does not come to this: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export interface SmallHostsOptions {
  /** By default both know one secret. */
  readonly credentialsOf?: (host: 'a' | 'b') => CredentialsOptions
  /** Assembly of what the machine runs; by default it waits. */
  readonly kernel?: string
}

/**
 * Hosts a and b of a small machine, in a folder of their own in `folder`, a started; `start` gives each its arbiter's
 * directory, and where the other is. The metrics of a are at `metricsUrl`.
 */
export async function smallHosts(
  t: TestContext,
  folder: string,
  { credentialsOf, kernel = 'again: wfi; j again' }: SmallHostsOptions = {},
) {
  const root = mkdtempSync(join(folder, 'both-'))
  const secret = { secretFile: join(root, 'secret') }
  const image = await smallImage(root, kernel)
  const machineFile = join(root, 'machine.json')
  const description = await describeImage(image, '')
  const record = newMachine({ harts: 1, ramBytes: 64 * 2 ** 20 }, image.name, description)
  await writeMachineFile(machineFile, { name: 'small', record })
  const [portOfA, portOfB, metricsPort] = await freePorts(3)
  const addresses = { a: { host: '127.0.0.1', port: portOfA! }, b: { host: '127.0.0.1', port: portOfB! } }
  const said = { a: '', b: '' }
  const start = async (host: 'a' | 'b', arbiter: string, port?: number): Promise<RunningHost> => {
    const peer = host === 'a' ? 'b' : 'a'
    const address = { ...addresses[peer], ...(port === undefined ? {} : { port }) }
    const running = await openHost(
      {
        ...{ kind: 'understudy-host', version: 1, machine: 'small', host, machineFile, settings: {} },
        ...{ directory: join(root, host), listen: addresses[host], peers: { [peer]: address } },
        ...{ arbiter: `file:${arbiter}`, credentials: credentialsOf?.(host) ?? secret },
        ...{ network: { kind: 'none' }, mayCreate: host === 'a' },
        metricsPort: host === 'a' ? metricsPort! : 0,
      },
      {
        ...{ findImage: () => image, mayRestart: false, isForced: false },
        onNotice: (text) => {
          said[host] += `${text}\n`
        },
      },
    )
    open.add(running)
    return running
  }
  const open = new Set<RunningHost>()
  const stop = async (running: RunningHost): Promise<void> => {
    open.delete(running)
    await running.close()
  }
  t.after(async () => {
    for (const running of open) await stop(running)
  })
  const arbiter = mkdtempSync(join(root, 'arbiter-'))
  const a = await start('a', arbiter)
  // From then on there is a machine to join.
  await until('a machine', () => /need backup/.test(JSON.stringify(a.protection)))
  const metricsUrl = `http://127.0.0.1:${metricsPort}/metrics`
  return { a, arbiter, said, start, stop, portOfA: portOfA!, metricsUrl }
}
