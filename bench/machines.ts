/** Starts machines, ours and QEMU's, on one image with one command, and collects their marks. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { runParameter } from '../src/image/run.ts'
import type { Translation } from '../src/machine/machine_options.ts'
import type { ImageFiles } from '../src/node/session.ts'
import { root } from '../tools/runtime.ts'
import type { GatewayPlace } from './gateway_link.ts'
import type { MachineNote, MachineRequest } from './machine_process.ts'
import { type Mark, MarkReader } from './marks.ts'

export const QEMU = 'qemu-system-riscv64'

/** A guest that is to be started. */
export interface GuestRun {
  readonly image: ImageFiles
  /** Kernel parameters: the image's own and what is added to them. */
  readonly parameters: string
  readonly command: string
  /** Which code our machine translates. */
  readonly translation: Translation
  /** The directory in which our machine keeps translated code, if it does. */
  readonly translations?: string
  /** Our machine's network; without it there is none. */
  readonly gateway?: GatewayPlace
  /** A TCP port of this computer that QEMU passes on to the guest; without it there is no network. */
  readonly forward?: { readonly hostPort: number; readonly guestPort: number }
}

/** What to do at a mark. A machine that is to end is stopped. */
export type OnMark = (mark: string, processId: number) => Promise<'end' | 'go on'>

/** What our machines keep from one start to the next, as those of users do; it is removed when a bench begins. */
export const KEPT = join(root, 'build', 'bench-kept')
const COMPILED = join(KEPT, 'compiled')

const goOn: OnMark = async () => 'go on'

export function isInstalled(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(':')
  return folders.some((folder) => existsSync(join(folder, program)))
}

/** When the machine's process was started and when it ended, and what it told in between. */
export interface MachineRun<Note> {
  readonly startMs: number
  readonly endMs: number
  readonly notes: readonly Note[]
}

export type OwnTask = 'run' | 'long' | 'idle' | 'snapshot'

/**
 * How the script `understudy` starts Node.js for its users, as it says itself. Its cache of compiled JavaScript is one of the bench's
 * own, which the first start of a bench finds empty.
 */
function leanStart(): { readonly flags: readonly string[]; readonly environment: Record<string, string> } {
  const script = readFileSync(join(root, 'understudy'), 'utf8')
  const flags = /^lean='(.*)'$/m.exec(script)?.[1]?.split(' ')
  const variables = [...script.matchAll(/(MALLOC_\w+)="\$\{MALLOC_\w+-(\d+)\}"/g)]
  if (flags === undefined || variables.length !== 2)
    throw new Error('understudy does not say how it starts Node.js')
  return { flags, environment: Object.fromEntries(variables.map(([, name, value]) => [name, value])) }
}

/** Runs our machine in a process of its own, as users' machines run. Throws if it fails. */
export async function runOurs(
  task: OwnTask,
  guest: GuestRun,
  onMark: OnMark = goOn,
): Promise<MachineRun<MachineNote>> {
  const program = join(root, 'bench', 'machine_process.ts')
  const request: MachineRequest = { task, ...guest }
  const { flags, environment } = leanStart()
  const cached = { NODE_COMPILE_CACHE: COMPILED }
  const startMs = Date.now()
  const child = spawn(process.execPath, [...flags, program, JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...environment, ...cached, ...process.env },
  })
  const notes: MachineNote[] = []
  const stopped = new Stopped(child, onMark)
  createInterface(child.stdout).on('line', (line) => {
    const note = JSON.parse(line) as MachineNote
    notes.push(note)
    if ('mark' in note) stopped.mark(note.mark)
  })
  await stopped.end('the machine')
  return { startMs, endMs: Date.now(), notes }
}

export const marksOf = (notes: readonly MachineNote[]) => notes.filter((one) => 'mark' in one)

/** Runs the same on QEMU: its `virt` machine, the same memory, one hart. */
export async function runQemu(guest: GuestRun, onMark: OnMark = goOn): Promise<MachineRun<Mark>> {
  const { kernel, initramfs, disk } = guest.image
  const parameters = ['console=ttyS0 quiet', guest.parameters, runParameter(guest.command)]
  const startMs = Date.now()
  const child = spawn(
    QEMU,
    [
      ...['-M', 'virt', '-m', '512', '-smp', '1', '-display', 'none', '-no-reboot', '-snapshot'],
      ...['-serial', 'null', '-monitor', 'none', '-kernel', kernel, '-initrd', initramfs],
      ...['-append', parameters.join(' '), ...networkWords(guest)],
      ...['-drive', `file=${disk},format=raw,if=none,id=disk`, '-device', 'virtio-blk-device,drive=disk'],
      ...['-device', 'virtio-rng-device', '-device', 'virtio-serial-device'],
      ...['-chardev', 'stdio,id=console,signal=off', '-device', 'virtconsole,chardev=console'],
    ],
    // What it says on the way out when it is stopped is of no interest; a failure shows in its status.
    { stdio: ['ignore', 'pipe', 'ignore'] },
  )
  const stopped = new Stopped(child, onMark)
  const notes = collectMarks(child.stdout, (mark) => stopped.mark(mark))
  await stopped.end(QEMU)
  return { startMs, endMs: Date.now(), notes }
}

function networkWords({ forward }: GuestRun): string[] {
  if (forward === undefined) return []
  const { hostPort, guestPort } = forward
  const network = `user,id=net,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`
  return ['-netdev', network, '-device', 'virtio-net-device,netdev=net']
}

/** The marks in what a child says, with the time of their arrival. */
function collectMarks(output: Readable, onMark: (mark: string) => void = () => {}): Mark[] {
  const notes: Mark[] = []
  const marks = new MarkReader((mark) => {
    notes.push({ mark, ms: performance.timeOrigin + performance.now() })
    onMark(mark)
  })
  output.on('data', (bytes: Buffer) => marks.push(bytes))
  return notes
}

/** A machine's process that may be stopped at a mark. */
class Stopped {
  readonly #child: ChildProcess
  readonly #onMark: OnMark
  #isStopped = false
  #failure: unknown

  constructor(child: ChildProcess, onMark: OnMark) {
    this.#child = child
    this.#onMark = onMark
  }

  mark(name: string): void {
    this.#onMark(name, this.#child.pid!).then(
      (next) => {
        if (next === 'end') this.#stop()
      },
      (error: unknown) => {
        this.#failure = error
        this.#stop()
      },
    )
  }

  /** Waits for its end. Throws if it has failed, or what was to be done at a mark. */
  async end(what: string): Promise<void> {
    await ended(this.#child, what).catch((error: unknown) => {
      if (!this.#isStopped) throw error
    })
    if (this.#failure !== undefined) throw this.#failure
  }

  #stop(): void {
    this.#isStopped = true
    this.#child.kill()
  }
}

function ended(child: ChildProcess, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (status === 0) resolve()
      else reject(new Error(`${what} ended with ${status ?? signal}`))
    })
  })
}

/** Runs a shell script on the host itself, with the programs of a folder, and collects its marks. */
export async function runOnHost(script: string, folder: string): Promise<Mark[]> {
  // Of its own each time, as the guest's disk is: what the script finds must be the same.
  const cwd = mkdtempSync(join(folder, 'host-'))
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:${folder}` }
  const child = spawn('/bin/sh', ['-c', script], { cwd, env, stdio: ['ignore', 'pipe', 'ignore'] })
  const notes = collectMarks(child.stdout)
  await ended(child, '/bin/sh')
  return notes
}

/** Percent of a core that a process uses over `ms` milliseconds. Linux only. */
export async function cpuPercent(processId: number, ms: number): Promise<number> {
  const before = cpuTicks(processId)
  await sleep(ms)
  return ((cpuTicks(processId) - before) * TICK_MS * 100) / ms
}

/** A tick of the times in /proc, which Linux fixes at a hundredth of a second. */
const TICK_MS = 10

function cpuTicks(processId: number): number {
  const stat = readFileSync(`/proc/${processId}/stat`, 'latin1')
  // The name, the second field, may hold spaces and parentheses: count from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}
