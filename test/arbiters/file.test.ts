/** The arbiter on shared storage, with its real process. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe } from 'node:test'
import { FileArbiter } from '../../src/host/file_arbiter.ts'
import type { Arbiter, OnAnswer } from '../../src/replication/arbiter.ts'
import { read } from './ask.ts'
import { type Fixture, testContract } from './contract.ts'

const directory = mkdtempSync(join(tmpdir(), 'file-arbiter-'))
const opened: FileArbiter[] = []
after(() => rmSync(directory, { recursive: true }))

async function open(machine: string): Promise<FileArbiter> {
  const arbiter = new FileArbiter(directory, machine, 20_000)
  opened.push(arbiter)
  // Its process runs from here on.
  await read(arbiter)
  return arbiter
}

function folderOf(machine: string): readonly string[] {
  const path = join(directory, machine)
  return existsSync(path) ? readdirSync(path) : []
}

function nameOf(epoch: number): string {
  return `${epoch}`.padStart(10, '0')
}

function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
}

/** Turns as fast as it can until `isSo`: what is waited for passes within a fraction of a millisecond. */
function spinUntil(isSo: () => boolean): void {
  const end = performance.now() + 10_000
  while (!isSo()) if (performance.now() > end) throw new Error('nothing happened')
}

/** A member whose next proposal is interfered with once it was sent. */
function interfering(arbiter: FileArbiter, interfere: (epoch: number) => void): Arbiter {
  let isFirst = true
  return {
    read: (onAnswer: OnAnswer) => arbiter.read(onAnswer),
    propose: (expected, proposed, onAnswer) => {
      arbiter.propose(expected, proposed, onAnswer)
      if (isFirst) interfere(proposed.epoch)
      isFirst = false
    },
    close: () => arbiter.close(),
  }
}

const fixture: Fixture = {
  open,

  async openThatLosesAnswer(machine) {
    const arbiter = await open(machine)
    return interfering(arbiter, (epoch) => {
      spinUntil(() => folderOf(machine).includes(nameOf(epoch)))
      // This thread has not looked at its channel yet: a reply that was not sent by now is lost with the process.
      process.kill(arbiter.pid!, 'SIGKILL')
    })
  },

  async openThatIsLate(machine) {
    const arbiter = await open(machine)
    const { promise: isHeld, resolve } = Promise.withResolvers<boolean>()
    const holding = interfering(arbiter, (epoch) => {
      const pid = arbiter.pid!
      // Between the check and the link, the temporary file is there.
      spinUntil(() => folderOf(machine).some((name) => name.includes(nameOf(epoch))))
      process.kill(pid, 'SIGSTOP')
      spinUntil(() => isStopped(pid))
      resolve(!folderOf(machine).includes(nameOf(epoch)))
    })
    return { arbiter: holding, isHeld, release: () => process.kill(arbiter.pid!, 'SIGCONT') }
  },

  closeAll() {
    for (const arbiter of opened.splice(0)) arbiter.close()
  },
}

describe('the arbiter on shared storage', { skip: process.platform !== 'linux' && 'needs /proc' }, () =>
  testContract(fixture),
)
