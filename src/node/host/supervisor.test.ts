import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { forgetProcess, notedProcess, noteProcess } from './pair_processes.ts'
import { Supervisor } from './supervisor.ts'

const PATIENT_MS = 60_000
const SLEEPING = ['-e', 'setInterval(() => {}, 1000)']

let folder: string
let count = 0
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'supervisor-'))
})
after(() => rmSync(folder, { recursive: true }))

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !isSo(); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

interface Setting {
  readonly supervisor: Supervisor
  readonly noteFile: string
  /** What was started, adopted and ended, in order. */
  readonly seen: string[]
  /** With what its process was started, each time. */
  readonly isFirst: boolean[]
}

function setting(words: readonly string[] = SLEEPING, directory = folder): Setting {
  const noteFile = join(directory, `${count++}.pid`)
  const [seen, isFirst]: [string[], boolean[]] = [[], []]
  const parameters = (first: boolean): readonly string[] => {
    isFirst.push(first)
    return words
  }
  const spec = { name: 'a', command: process.execPath, parameters, logFile: join(directory, 'log'), noteFile }
  const supervisor = new Supervisor([spec], {
    onStarted: () => seen.push('started'),
    onAdopted: (_, pid) => seen.push(`adopted ${pid}`),
    onEnded: (_, how, isDone) => seen.push(`ended: ${how}, ${isDone ? 'done' : 'again'}`),
  })
  return { supervisor, noteFile, seen, isFirst }
}

async function orphan(noteFile: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, SLEEPING, { stdio: 'ignore' })
  await once(child, 'spawn')
  noteProcess(noteFile, child.pid!)
  return child
}

test('a process that ends in order is not started again, and nothing is noted of it any more', async () => {
  const { supervisor, seen, noteFile } = setting(['-e', ''])
  supervisor.start()
  await until('done', () => supervisor.isDone('a'))
  assert.deepEqual(seen, ['started', 'ended: status 0, done'])
  assert.ok(!existsSync(noteFile))
})

test('a process that another supervisor has left running is adopted, and followed by another when it ends', async () => {
  const { supervisor, noteFile, seen, isFirst } = setting()
  const child = await orphan(noteFile)
  supervisor.start()
  assert.equal(supervisor.pid('a'), child.pid)
  assert.deepEqual(isFirst, [], 'none was started beside it')
  child.kill('SIGKILL')
  await until('another', () => seen.includes('started'))
  assert.deepEqual(seen, [`adopted ${child.pid}`, 'ended: how is not known, again', 'started'])
  assert.deepEqual(isFirst, [false], 'a machine that was stopped meanwhile is not started again')
  assert.equal(notedProcess(noteFile)?.pid, supervisor.pid('a'))
  await supervisor.stop()
})

test('a process that was adopted is ended with the others', async () => {
  const { supervisor, noteFile } = setting()
  const child = await orphan(noteFile)
  const ended = once(child, 'exit')
  supervisor.start()
  await supervisor.stop()
  assert.deepEqual(await ended, [null, 'SIGTERM'])
})

test('another process that has the pid by now is nobody, and so is what cannot be read', async () => {
  const { supervisor, noteFile, seen } = setting()
  noteProcess(noteFile, process.pid)
  const noted = JSON.parse(readFileSync(noteFile, 'utf8')) as { startTime: string }
  assert.equal(notedProcess(noteFile)?.pid, process.pid)
  writeFileSync(noteFile, JSON.stringify({ ...noted, startTime: '1' }))
  assert.equal(notedProcess(noteFile), undefined)
  writeFileSync(noteFile, '{"pid"')
  supervisor.start()
  await until('started', () => seen.includes('started'))
  await supervisor.stop()
})

test('a process whose files cannot be written is tried again until it can be, as the first', async () => {
  const directory = join(folder, 'away')
  const { supervisor, seen, isFirst } = setting(SLEEPING, directory)
  supervisor.start()
  assert.equal(supervisor.pid('a'), undefined)
  assert.match(seen[0]!, /^ended: cannot write .*log: no such file or directory.*, again$/)
  mkdirSync(directory)
  await until('started', () => seen.includes('started'))
  assert.deepEqual(isFirst, [true])
  await supervisor.stop()
})

test('a process that cannot be noted runs all the same', async () => {
  const { supervisor, seen, noteFile } = setting()
  mkdirSync(noteFile)
  supervisor.start()
  await until('started', () => seen.includes('started'))
  await supervisor.stop()
})

test('a note that cannot be written stops nobody, and nobody is known by one without a start time', async () => {
  const missing = join(folder, 'missing', 'a.pid')
  noteProcess(missing, process.pid)
  assert.equal(notedProcess(missing), undefined)
  forgetProcess(join(missing, 'below'))
  const path = join(folder, `${count++}.pid`)
  noteProcess(path, process.pid)
  const noted = JSON.parse(readFileSync(path, 'utf8')) as { startTime: string }
  writeFileSync(path, JSON.stringify({ ...noted, startTime: '' }))
  assert.equal(notedProcess(path), undefined)
})
