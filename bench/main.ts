/**
 * `npm run bench`: measures how fast everything is, next to QEMU on the same guest and next to the host where these can
 * be asked. docs/performance.md says how to read it.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Translation } from '../src/machine/machine_options.ts'
import { ensurePinnedNode, root } from '../tools/runtime.ts'
import type { BenchOptions } from './guest_parts.ts'
import { type Finding, table } from './results.ts'

ensurePinnedNode()

const USAGE = `npm run bench -- [options]

  --only PART     one of: micro, system, programs, boot, redis, bare, idle, snapshot, exec, log,
                  core, simulator, arbiter, gateway, protected, power-off; may be given
                  again. long, half an hour of programs, runs only where it is named
  --tier NAME     translated (the default) or interpreted: how our machine runs, but for boot and bare, which
                  measure both, and exec, protected and power-off, which run as users' machines do
  --cold          our machines keep no translations for the next round, and each is as the first; else the
                  first round alone is that in micro, system, programs, boot and redis
  --peer NAME     qemu: needs qemu-system-riscv64 (the default is to use it if it is there); none: without
  --repeat N      measurements of each, 3 by default
  --json FILE     where the figures go, build/bench.json by default
  --help          this text`

/** Parts in the order in which they run, those in LONG_PARTS only where they are named. */
const PARTS: Readonly<Record<string, (options: BenchOptions) => Promise<Finding[]>>> = {
  micro: async (options) => (await import('./workload_parts.ts')).measureMicro(options),
  system: async (options) => (await import('./workload_parts.ts')).measureSystem(options),
  programs: async (options) => (await import('./workload_parts.ts')).measurePrograms(options),
  boot: async (options) => (await import('./guest_parts.ts')).measureBoot(options),
  redis: async (options) => (await import('./redis_parts.ts')).measureRedis(options),
  exec: async (options) => (await import('./bare_parts.ts')).measureExec(options),
  log: async (options) => (await import('./bare_parts.ts')).measureLog(options),
  core: async (options) => (await import('./replication_parts.ts')).measureCore(options),
  simulator: async (options) => (await import('./replication_parts.ts')).measureSimulator(options),
  arbiter: async (options) => (await import('./arbiter_parts.ts')).measureArbiters(options),
  bare: async (options) => (await import('./bare_parts.ts')).measureBare(options),
  snapshot: async (options) => (await import('./guest_parts.ts')).measureSnapshots(options),
  idle: async (options) => (await import('./guest_parts.ts')).measureIdle(options),
  gateway: async (options) => (await import('./gateway_parts.ts')).measureGateway(options),
  protected: async (options) => (await import('./protected_parts.ts')).measureProtected(options),
  long: async (options) => (await import('./long_parts.ts')).measureLong(options),
  'power-off': async (options) => (await import('./power_off_parts.ts')).measurePowerOff(options),
}

/** Nobody wants to wait for these who has not asked for them. */
const LONG_PARTS: readonly string[] = ['long']

const TIERS: Readonly<Record<string, Translation>> = { interpreted: 'off', translated: 'hot' }

interface Request {
  readonly parts: readonly string[]
  readonly withQemu: boolean
  readonly translation: Translation
  readonly isCold: boolean
  readonly repeat: number
  readonly json: string
}

async function readRequest(): Promise<Request> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      peer: { type: 'string' },
      tier: { type: 'string', default: 'translated' },
      cold: { type: 'boolean', default: false },
      repeat: { type: 'string', default: '3' },
      json: { type: 'string', default: join(root, 'build', 'bench.json') },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  const { isInstalled, QEMU } = await import('./machines.ts')
  const unknown = values.only?.find((name) => !Object.hasOwn(PARTS, name))
  if (unknown !== undefined) throw new Error(`there is no part ${unknown}; see --help`)
  const { peer } = values
  if (peer !== undefined && peer !== 'qemu' && peer !== 'none') {
    throw new Error(`there is no peer ${peer}; see --help`)
  }
  if (peer === 'qemu' && !isInstalled(QEMU)) throw new Error(`${QEMU} is not installed`)
  const translation = TIERS[values.tier]
  if (translation === undefined) throw new Error(`there is no tier ${values.tier}; see --help`)
  const repeat = Number(values.repeat)
  if (!Number.isInteger(repeat) || repeat < 1) throw new Error('--repeat wants a number of at least 1')
  const parts = Object.keys(PARTS).filter((name) => values.only?.includes(name) ?? !LONG_PARTS.includes(name))
  const withQemu = peer !== 'none' && isInstalled(QEMU)
  return { parts, withQemu, translation, isCold: values.cold, repeat, json: resolve(values.json) }
}

/** The host, as far as it matters for figures. */
function host(): object {
  return { processor: cpus()[0]?.model, cores: availableParallelism(), node: process.versions.node }
}

async function main(): Promise<void> {
  const { parts, json, withQemu, translation, isCold, repeat } = await readRequest()
  const loadBefore = loadavg()[0]!
  const options = { withQemu, translation, repeat, say: (text: string) => console.error(`... ${text}`) }
  const findings: Finding[] = []
  const { KEPT } = await import('./machines.ts')
  rmSync(KEPT, { recursive: true, force: true })
  mkdirSync(join(KEPT, 'translations'), { recursive: true })
  for (const name of parts) {
    const kept = isCold ? {} : { translations: join(KEPT, 'translations', name) }
    // What the other parts have found in minutes is not lost with it.
    await PARTS[name]!({ ...options, ...kept }).then(
      (found) => findings.push(...found),
      (error: unknown) => fail(`${name}: ${error instanceof Error ? error.message : error}`),
    )
  }
  const load = { before: loadBefore, after: loadavg()[0]! }
  console.log(table(findings))
  console.log("\nx: times longer here; goal: at most so many times, '!' where it is missed")
  console.log(`load of the host before ${load.before.toFixed(1)}, after ${load.after.toFixed(1)}`)
  mkdirSync(dirname(json), { recursive: true })
  const figures = findings.filter((one) => 'samples' in one)
  const means = findings.filter((one) => !('samples' in one))
  const report = {
    kind: 'understudy-bench',
    version: 1,
    host: host(),
    load,
    repeat,
    translation,
    isCold,
    figures,
    means,
  }
  writeFileSync(json, `${JSON.stringify(report, undefined, 2)}\n`)
}

function fail(reason: string): void {
  console.error(`bench: ${reason}`)
  process.exitCode = 1
}

await main().catch((error: unknown) => fail(error instanceof Error ? error.message : `${error}`))
