/** How long an arbiter takes to let a decision follow another, and to say so again. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openArbiter } from '../src/host/open_arbiter.ts'
import type { Arbiter, Decision } from '../src/replication/arbiter.ts'
import { currentOf, decide, latest, read } from '../test/arbiters/ask.ts'
import { EtcdProcess, freePorts } from '../test/arbiters/etcd_process.ts'
import type { BenchOptions } from './guest_parts.ts'
import { isInstalled } from './machines.ts'
import { type Figure, figure } from './results.ts'

const DECISIONS = 300
/** What a configuration takes. */
const TEXT = 'x'.repeat(400)

/** Milliseconds of a proposal and a read after it, for a directory here and, if it is installed, an etcd here. */
export async function measureArbiters({ say, repeat }: BenchOptions): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-arbiter-'))
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number]
  const etcd = new EtcdProcess({ directory: join(folder, 'etcd'), clientPort, peerPort })
  try {
    say('arbiter: file')
    mkdirSync(join(folder, 'shared'))
    const figures = await measureArbiter('file', `file:${join(folder, 'shared')}`, repeat)
    if (!isInstalled('etcd')) return figures
    say('arbiter: etcd')
    await etcd.start()
    return [...figures, ...(await measureArbiter('etcd', `etcd:${etcd.url}`, repeat))]
  } finally {
    await etcd.kill()
    rmSync(folder, { recursive: true })
  }
}

async function measureArbiter(name: string, spec: string, repeat: number): Promise<Figure[]> {
  const [half, most]: [number[], number[]] = [[], []]
  for (let round = 0; round < repeat; round++) {
    const { arbiter } = await openArbiter(spec, `round-${round}`)
    const sorted = (await milliseconds(arbiter)).toSorted((a, b) => a - b)
    arbiter.close()
    half.push(sorted[Math.floor(sorted.length * 0.5)]!)
    most.push(sorted[Math.floor(sorted.length * 0.99)]!)
  }
  const place = { part: 'arbiter', unit: 'ms' }
  return [figure({ ...place, name: `${name}, p50` }, half), figure({ ...place, name: `${name}, p99` }, most)]
}

async function milliseconds(arbiter: Arbiter): Promise<number[]> {
  // A process or connection is there before the first measurement.
  let decision: Decision | undefined = currentOf(await read(arbiter))
  const samples: number[] = []
  for (let i = 0; i < DECISIONS; i++) {
    const start = performance.now()
    decision = await decide(arbiter, decision, TEXT)
    await latest(arbiter)
    samples.push(performance.now() - start)
  }
  return samples
}
