/**
 * One machine in a process of its own, so that its memory and its CPU time can be read off the process:
 *
 *     node bench/machine_process.ts REQUEST                (a MachineRequest as JSON)
 *
 * What happens is told as lines of JSON (MachineNote) on the standard output. Tasks: `run` until the guest powers off;
 * `long`, which measures memory at each mark and ends at the first after half an hour; `idle`, which measures the
 * seconds after the mark `@idle`; `snapshot`, which saves and loads at the mark `@ready`.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LinkClient } from '../src/gateway/link_client.ts'
import { runParameter } from '../src/image/run.ts'
import { diskBeside } from '../src/node/saved_files.ts'
import { PORT, Session, type SessionOptions } from '../src/node/session.ts'
import type { GuestRun, OwnTask } from './machines.ts'
import { MarkReader } from './marks.ts'

/** What this process is to do. */
export interface MachineRequest extends GuestRun {
  readonly task: OwnTask
}

/** A mark of the guest. `ms` is of the host's clock, since 1970; the rest counts from the start of the process. */
export interface OwnMark {
  readonly mark: string
  readonly ms: number
  readonly steps: number
  readonly idleMs: number
  /** CPU time of all threads. */
  readonly cpuMs: number
}

/** One line of this process's output. */
export type MachineNote =
  | OwnMark
  /** `guestBytes`: resident guest RAM, where the host can tell. */
  | { readonly rssBytes: number; readonly guestBytes: number | undefined }
  | { readonly idlePercent: number }
  | { readonly saveSeconds: number; readonly loadSeconds: number; readonly bytes: number }

/** A locally administered one. */
const MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x0f)
const RAM_BYTES = 512 * 2 ** 20
/** After the mark the guest finishes what it was at; then the measurement begins. */
const SETTLE_MS = 3000
const IDLE_MS = 20_000
const SNAPSHOTS = 3
const LONG_MS = 30 * 60_000

const request = JSON.parse(process.argv[2]!) as MachineRequest

let link: LinkClient | undefined

function note(value: MachineNote): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

function options(onMark: (name: string) => void): SessionOptions {
  const marks = new MarkReader(onMark)
  const { image, translation, translations, parameters, command } = request
  return {
    ...{ image, translation, harts: 1, ramBytes: RAM_BYTES },
    ...(translations === undefined ? {} : { translations }),
    bootArguments: ['console=ttyS0 quiet', parameters, runParameter(command)].join(' '),
    ...(request.gateway !== undefined && { mac: MAC }),
    onOutput: (output) => {
      if (output.port === PORT.console) marks.push(output.bytes)
      if (output.port === PORT.net) link?.put(output)
    },
    onNotice: (text) => console.error(text),
  }
}

/** Starts a machine, calls `onMark` at each mark, and waits for its end. */
async function run(onMark: (name: string, session: Session) => void): Promise<Session> {
  const session: Session = await Session.open(
    options((name) => {
      const { computer, runner } = session
      const ms = performance.timeOrigin + performance.now()
      const { user, system } = process.cpuUsage()
      const cpuMs = (user + system) / 1000
      note({ mark: name, ms, steps: Number(computer.position), idleMs: runner.idleMs, cpuMs })
      onMark(name, session)
    }),
  )
  if (request.gateway !== undefined) {
    const { runner } = session
    const { linkGateway } = await import('./gateway_link.ts')
    link = await linkGateway(request.gateway, (port, bytes) => runner.deliver({ kind: 'input', port, bytes }))
  }
  await session.run()
  return session
}

function noteMemory(): void {
  note({ rssBytes: process.memoryUsage.rss(), guestBytes: residentGuestBytes() })
}

/** The resident part of the one mapping that is as large as the guest's RAM, as Linux tells it. */
function residentGuestBytes(): number | undefined {
  if (process.platform !== 'linux') return undefined
  const mappings = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  const kilobytes = (mapping: string, field: string): number =>
    Number(new RegExp(`^${field}: +(\\d+) kB`, 'm').exec(mapping)?.[1])
  const guest = mappings.find((mapping) => kilobytes(mapping, 'Size') * 1024 === RAM_BYTES)
  return guest === undefined ? undefined : kilobytes(guest, 'Rss') * 1024
}

async function measureIdle(): Promise<void> {
  let measured: Promise<void> | undefined
  const measure = async ({ runner }: Session): Promise<void> => {
    await sleep(SETTLE_MS)
    const before = process.cpuUsage()
    await sleep(IDLE_MS)
    const { user, system } = process.cpuUsage(before)
    note({ idlePercent: (user + system) / IDLE_MS / 10 })
    runner.stop()
  }
  const session = await run((name, running) => {
    if (name === 'idle') measured = measure(running)
  })
  await measured
  noteMemory()
  await session.close()
}

async function measureLong(): Promise<void> {
  const session = await run((_, { runner }) => {
    noteMemory()
    if (performance.now() >= LONG_MS) runner.stop()
  })
  await session.close()
}

async function measureSnapshots(): Promise<void> {
  const session = await run((name, running) => {
    if (name === 'ready') running.runner.stop()
  })
  noteMemory()
  const folder = mkdtempSync(join(tmpdir(), 'bench-snapshot-'))
  try {
    for (let i = 0; i < SNAPSHOTS; i++) {
      const path = join(folder, `${i}.snapshot`)
      const startSave = performance.now()
      await session.save(path)
      const startLoad = performance.now()
      const copy = await Session.open({ ...options(() => {}), load: path })
      const end = performance.now()
      await copy.close()
      const bytes = statSync(path).size + sizeOf(diskBeside(path))
      note({ saveSeconds: (startLoad - startSave) / 1000, loadSeconds: (end - startLoad) / 1000, bytes })
    }
  } finally {
    rmSync(folder, { recursive: true })
    await session.close()
  }
}

/** Bytes that the files of a folder take on the disk. */
function sizeOf(folder: string): number {
  const names = readdirSync(folder)
  return names.reduce((sum, name) => sum + statSync(join(folder, name)).blocks * 512, 0)
}

if (request.task === 'idle') await measureIdle()
else if (request.task === 'long') await measureLong()
else if (request.task === 'snapshot') await measureSnapshots()
else {
  const session = await run(() => {})
  noteMemory()
  await session.close()
}
