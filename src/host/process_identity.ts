/**
 * Which process it was. A pid is used again, so a process is known by pid and start time, within a boot of a host and a
 * pid namespace; where a system does not tell these, by less.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { systemErrorCode } from './file_error.ts'

export interface ProcessIdentity {
  readonly host: string
  /** Changes when the host is restarted; empty where it is not known. */
  readonly boot: string
  /** Within which `pid` means something; containers have their own. */
  readonly pidNamespace: string
  readonly pid: number
  readonly startTime: string
}

/** Of a process that lives at this moment, as this one does. */
export function processIdentity(pid = process.pid): ProcessIdentity {
  return {
    host: hostname(),
    boot: textOr(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    pidNamespace: textOr(() => readlinkSync('/proc/self/ns/pid')),
    pid,
    startTime: startTimeOf(pid),
  }
}

/** Whether a process of this host, boot and pid namespace still runs. */
export function isRunning({ pid, startTime }: ProcessIdentity): boolean {
  return isAlive(pid) && startTimeOf(pid) === startTime && !isZombie(pid)
}

/** Whether the process would be found among those that this one sees. */
export function isNear(other: ProcessIdentity, self = processIdentity()): boolean {
  return other.host === self.host && other.boot === self.boot && other.pidNamespace === self.pidNamespace
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemErrorCode(error) === 'EPERM'
  }
}

/** Clock ticks from boot to the process's start (proc(5), field 22 of stat); empty where there is no /proc. */
function startTimeOf(pid: number): string {
  return textOr(() => statOf(pid)[19] ?? '')
}

/**
 * Whether a process has ended and nobody has asked for its status, as in a container whose first process does not ask.
 * Until its last thread is gone, one of them may be in the middle of a write.
 */
function isZombie(pid: number): boolean {
  const state = textOr(() => statOf(pid)[0] ?? '')
  return (
    (state === 'Z' || state === 'X') && textOr(() => `${readdirSync(`/proc/${pid}/task`).length}`) === '1'
  )
}

/** The fields of proc(5)'s stat from the third on, which is the state. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field, the program's name in parentheses, may hold spaces and parentheses itself.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** What `read` finds, or nothing on systems that do not have it. */
function textOr(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}
