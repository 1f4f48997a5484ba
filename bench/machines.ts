/** Starts machines, ours and QEMU's, on one image with one command, and collects their marks. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { runParameter } from '../src/image/run.ts'
import type { Translation } from '../src/machine/machine_options.ts'
import type { ImageFiles } from '../src/node/session.ts'
import { root } from '../tools/runtime.ts'
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
}

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

export type OwnTask = 'run' | 'idle' | 'snapshot'

/** Runs our machine in a process of its own. Throws if it fails. */
export async function runOurs(task: OwnTask, guest: GuestRun): Promise<MachineRun<MachineNote>> {
  const program = join(root, 'bench', 'machine_process.ts')
  const request: MachineRequest = { task, ...guest }
  const startMs = Date.now()
  const child = spawn(process.execPath, [program, JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const notes: MachineNote[] = []
  createInterface(child.stdout).on('line', (line) => notes.push(JSON.parse(line) as MachineNote))
  await ended(child, 'the machine')
  return { startMs, endMs: Date.now(), notes }
}

export const marksOf = (notes: readonly MachineNote[]) => notes.filter((one) => 'mark' in one)

/** Runs the same on QEMU: its `virt` machine, the same memory, one hart. `onMark` may end it early. */
export async function runQemu(
  guest: GuestRun,
  onMark: (name: string, processId: number, end: () => void) => void = () => {},
): Promise<MachineRun<Mark>> {
  const { kernel, initramfs, disk } = guest.image
  const parameters = ['console=ttyS0 quiet', guest.parameters, runParameter(guest.command)]
  const startMs = Date.now()
  const child = spawn(
    QEMU,
    [
      ...['-M', 'virt', '-m', '512', '-smp', '1', '-display', 'none', '-no-reboot', '-snapshot'],
      ...['-serial', 'null', '-monitor', 'none', '-kernel', kernel, '-initrd', initramfs],
      ...['-append', parameters.join(' ')],
      ...['-drive', `file=${disk},format=raw,if=none,id=disk`, '-device', 'virtio-blk-device,drive=disk'],
      ...['-device', 'virtio-rng-device', '-device', 'virtio-serial-device'],
      ...['-chardev', 'stdio,id=console,signal=off', '-device', 'virtconsole,chardev=console'],
    ],
    // What it says on the way out when it is stopped is of no interest; a failure shows in its status.
    { stdio: ['ignore', 'pipe', 'ignore'] },
  )
  const notes: Mark[] = []
  let isStopped = false
  const end = (): void => {
    isStopped = true
    child.kill()
  }
  const marks = new MarkReader((mark) => {
    notes.push({ mark, ms: performance.timeOrigin + performance.now() })
    onMark(mark, child.pid!, end)
  })
  child.stdout.on('data', (bytes: Buffer) => marks.push(bytes))
  await ended(child, QEMU).catch((error: unknown) => {
    if (!isStopped) throw error
  })
  return { startMs, endMs: Date.now(), notes }
}

function ended(child: ReturnType<typeof spawn>, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (status === 0) resolve()
      else reject(new Error(`${what} ended with ${status ?? signal}`))
    })
  })
}

/** Runs a shell script on the host itself, in a folder, and collects its marks. */
export async function runOnHost(script: string, folder: string): Promise<Mark[]> {
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:${folder}` }
  const child = spawn('/bin/sh', ['-c', script], { cwd: folder, env, stdio: ['ignore', 'pipe', 'ignore'] })
  const notes: Mark[] = []
  const marks = new MarkReader((mark) => {
    notes.push({ mark, ms: performance.timeOrigin + performance.now() })
  })
  child.stdout.on('data', (bytes: Buffer) => marks.push(bytes))
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
