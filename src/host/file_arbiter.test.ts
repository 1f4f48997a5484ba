import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { ArbiterAnswer, Decision } from '../replication/arbiter.ts'
import { FileArbiter } from './file_arbiter.ts'

/** Far above what a process takes to start on a busy machine, where nothing is meant to time out. */
const PATIENT_MS = 20_000
const HASTY_MS = 300

let root: string
let count = 0
before(() => {
  root = mkdtempSync(join(tmpdir(), 'file-arbiter-'))
})
after(() => rmSync(root, { recursive: true }))

function newPath(): string {
  const path = join(root, `${++count}`)
  mkdirSync(path)
  return path
}

const read = (arbiter: FileArbiter): Promise<ArbiterAnswer> => new Promise((resolve) => arbiter.read(resolve))

async function latest(arbiter: FileArbiter): Promise<Decision | undefined> {
  const answer = await read(arbiter)
  assert.equal(answer.kind, 'current', JSON.stringify(answer))
  return answer.kind === 'current' ? answer.decision : undefined
}

async function decide(arbiter: FileArbiter, epoch: number): Promise<Decision> {
  const expected = epoch === 1 ? undefined : { epoch: epoch - 1, text: `${epoch - 1}` }
  const proposed = { epoch, text: `${epoch}` }
  const answer = await new Promise((resolve) => arbiter.propose(expected, proposed, resolve))
  assert.deepEqual(answer, { kind: 'current', decision: proposed })
  return proposed
}

async function eventually(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !(await isSo()); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('storage that hangs is unreachable in time, stalls nothing, and is tried again by another process', async () => {
  const arbiter = new FileArbiter(newPath(), 'm', HASTY_MS)
  // The first process may take longer to start than it may to answer.
  await eventually('it starts', async () => (await read(arbiter)).kind === 'current')
  const pid = arbiter.pid!
  process.kill(pid, 'SIGSTOP')
  let ticks = 0
  const ticking = setInterval(() => ticks++, 10)
  const start = performance.now()
  const answers = await Promise.all([read(arbiter), read(arbiter)])
  const tookMs = performance.now() - start
  clearInterval(ticking)
  for (const answer of answers) {
    assert.equal(answer.kind, 'unreachable')
    assert.match('reason' in answer ? answer.reason : '', /: no answer within 300 ms$/)
  }
  assert.ok(tookMs >= HASTY_MS - 1 && tookMs < HASTY_MS + 3000, `took ${tookMs} ms`)
  assert.ok(ticks >= 10, `${ticks} ticks`)
  await eventually('another process answers', async () => (await read(arbiter)).kind === 'current')
  assert.notEqual(arbiter.pid, pid)
  await eventually('the first is gone', () => !isAlive(pid))
  arbiter.close()
})

test('a process that dies makes its requests unreachable, and the next ones reach another', async () => {
  const arbiter = new FileArbiter(newPath(), 'm', PATIENT_MS)
  await decide(arbiter, 1)
  process.kill(arbiter.pid!, 'SIGSTOP')
  const answer = read(arbiter)
  process.kill(arbiter.pid!, 'SIGKILL')
  assert.match(JSON.stringify(await answer), /"unreachable".*its process ended \(SIGKILL\)/)
  await decide(arbiter, 2)
  arbiter.close()
})

test('a directory restored from an older copy is not trusted any more, whatever is built on it', async () => {
  const path = newPath()
  const arbiter = new FileArbiter(path, 'm', PATIENT_MS)
  await decide(arbiter, 1)
  cpSync(path, `${path}.backup`, { recursive: true })
  await decide(arbiter, 2)
  renameSync(path, `${path}.away`)
  cpSync(`${path}.backup`, path, { recursive: true })
  assert.match(JSON.stringify(await read(arbiter)), /"untrusted".*forgotten decision 2: now its latest is 1/)
  const other = new FileArbiter(path, 'm', PATIENT_MS)
  for (const epoch of [2, 3, 4]) await decide(other, epoch)
  assert.match(JSON.stringify(await read(arbiter)), /"untrusted".*forgotten decision 2/)
  arbiter.close()
  other.close()
})

test('a directory that vanished does not answer; one in which the machine vanished is not trusted', async () => {
  const path = newPath()
  const arbiter = new FileArbiter(path, 'm', PATIENT_MS)
  await decide(arbiter, 1)
  renameSync(path, `${path}.away`)
  assert.match(JSON.stringify(await read(arbiter)), /"unreachable".*is it mounted\?/)
  renameSync(`${path}.away`, path)
  assert.deepEqual(await latest(arbiter), { epoch: 1, text: '1' })
  renameSync(join(path, 'm'), join(path, 'n'))
  assert.match(JSON.stringify(await read(arbiter)), /"untrusted".*forgotten decision 1: now it has none/)
  arbiter.close()
})

test('hosts prove by a nonce that their storage is the same', async () => {
  const [path, elsewhere] = [newPath(), newPath()]
  const [a, b, c] = [path, path, elsewhere].map((where) => new FileArbiter(where, 'm', PATIENT_MS)) as [
    FileArbiter,
    FileArbiter,
    FileArbiter,
  ]
  const nonce = await a.writeNonce('host a')
  assert.equal(await b.hasNonce('host a', nonce), true)
  assert.equal(await c.hasNonce('host a', nonce), false)
  const missing = new FileArbiter(join(root, 'missing'), 'm', PATIENT_MS)
  await assert.rejects(missing.writeNonce('host a'), /^UserError: .*missing: no such directory/)
  for (const arbiter of [a, b, c, missing]) arbiter.close()
})

/** A process with an arbiter, which says the pid of the arbiter's process and then does `next`. */
async function holder(next: string): Promise<{ child: ChildProcess; pid: number }> {
  const module = new URL('./file_arbiter.ts', import.meta.url).href
  const program = `
    const { FileArbiter } = await import(${JSON.stringify(module)})
    const arbiter = new FileArbiter(${JSON.stringify(newPath())}, 'm', ${PATIENT_MS})
    await new Promise((resolve) => arbiter.read(resolve))
    process.stdout.write(String(arbiter.pid))
    ${next}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [bytes] = await once(child.stdout!, 'data')
  return { child, pid: Number(String(bytes)) }
}

test('an idle arbiter does not keep its process from ending, and its own process ends with that', async () => {
  const { child, pid } = await holder('')
  try {
    await eventually('it ends', () => child.exitCode === 0)
    await eventually("the arbiter's process ends", () => !isAlive(pid))
  } finally {
    child.kill('SIGKILL')
  }
})

test("an arbiter's process ignores what ends its parent, and ends when that was killed", async () => {
  const { child, pid } = await holder('setInterval(() => {}, 1000)')
  try {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal)
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.ok(isAlive(pid))
  } finally {
    child.kill('SIGKILL')
  }
  await once(child, 'exit')
  await eventually('it ends', () => !isAlive(pid))
})

test('nothing is made where there is no directory', async () => {
  const path = join(root, 'nowhere')
  const arbiter = new FileArbiter(path, 'm', PATIENT_MS)
  assert.match(
    JSON.stringify(await read(arbiter)),
    /"unreachable".*nowhere: no such directory: mount the storage/,
  )
  assert.ok(!existsSync(path))
  arbiter.close()
})
