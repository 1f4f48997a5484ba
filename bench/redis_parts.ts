/**
 * Redis in a guest that is not protected, asked over the network: through our gateway, and through QEMU's network in user
 * mode. The clients are in this process.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openImage } from '../src/image/store.ts'
import { freePorts } from '../src/node/host/loopback_ports.ts'
import { RedisClient } from '../test/protected/redis_client.ts'
import { systemImage, testEnvironment } from '../test/system_image.ts'
import { startGateway } from './gateway_link.ts'
import { type BenchOptions, keepOf, Samples } from './guest_parts.ts'
import { type GuestRun, runOurs, runQemu } from './machines.ts'
import { type Figure, figure } from './results.ts'
import { QUIET_KERNEL } from './workloads.ts'

const GUEST_PORT = 6379
const CLIENTS = 20
const LOAD_MS = 5000
/** What is cold takes longer, and is no property of either. */
const WARM_UP_MS = 3000
const READY = 'ready'
/** Half again as many commands a second. */
const GOALS = { qemu: 1 / 1.5 }

/** What each client does again and again; several commands are sent together. */
const LOADS = [
  { name: 'SET', words: ['SET', 'key', 'value'], commands: 1 },
  { name: 'GET', words: ['GET', 'key'], commands: 1 },
  { name: 'SET, 16 at once', words: ['SET', 'key', 'value'], commands: 16 },
  { name: 'GET, 16 at once', words: ['GET', 'key'], commands: 16 },
] as const

type Load = (typeof LOADS)[number]

/** Commands a second. */
export async function measureRedis(options: BenchOptions): Promise<Figure[]> {
  const image = await systemImage()
  if ('missing' in image) throw new Error(image.missing)
  const { commandLine } = openImage(image.name, testEnvironment).manifest
  const guest = {
    ...{ image: image.files, parameters: `${commandLine} ${QUIET_KERNEL}`, translation: options.translation },
    ...keepOf(options),
    // The services of the image answer before it runs.
    command: `echo @${READY}; sleep 1000`,
  }
  const [ours, qemu] = [new Samples(), new Samples()]
  for (let round = 1; round <= options.repeat; round++) {
    options.say(`redis, round ${round} of ${options.repeat}`)
    await measureOurs(guest, ours)
    if (options.withQemu) await measureQemu(guest, qemu)
  }
  return LOADS.map(({ name }) =>
    figure(
      { part: 'redis', name: `${name}, ${CLIENTS} clients`, unit: '1/s', isRate: true, goals: GOALS },
      ours.of(name),
      { qemu: qemu.of(name) },
    ),
  )
}

async function measureOurs(guest: GuestRun, samples: Samples): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-redis-'))
  try {
    const [port, hostPort] = (await freePorts(2)) as [number, number]
    const gateway = await startGateway(folder, port, { hostPort, guestPort: GUEST_PORT })
    try {
      await runOurs('run', { ...guest, gateway: gateway.place }, untilMeasured(hostPort, samples))
    } finally {
      gateway.process.kill()
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function measureQemu(guest: GuestRun, samples: Samples): Promise<void> {
  const [hostPort] = (await freePorts(1)) as [number]
  const forward = { hostPort, guestPort: GUEST_PORT }
  await runQemu({ ...guest, forward }, untilMeasured(hostPort, samples))
}

/** Measures when the guest is ready, and ends its machine then. */
function untilMeasured(port: number, samples: Samples) {
  return async (mark: string): Promise<'end' | 'go on'> => {
    if (mark !== READY) return 'go on'
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => RedisClient.connect(port)))
    try {
      for (const load of LOADS) await perSecond(clients, load, WARM_UP_MS)
      for (const load of LOADS) samples.add(load.name, await perSecond(clients, load, LOAD_MS))
    } finally {
      for (const client of clients) client.close()
    }
    return 'end'
  }
}

async function perSecond(clients: readonly RedisClient[], load: Load, ms: number): Promise<number> {
  const start = performance.now()
  const counts = await Promise.all(clients.map((client) => countUntil(client, load, start + ms)))
  const seconds = (performance.now() - start) / 1000
  return counts.reduce((sum, count) => sum + count, 0) / seconds
}

/** Sends and waits, again and again. Returns how many commands were answered. */
async function countUntil(client: RedisClient, { words, commands }: Load, endMs: number): Promise<number> {
  const batch = Array.from({ length: commands }, () => words)
  let count = 0
  for (; performance.now() < endMs; count += commands) await client.pipeline(batch)
  return count
}
