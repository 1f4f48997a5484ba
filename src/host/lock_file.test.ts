import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { UserError } from '../base/errors.ts'
import { LockFile } from './lock_file.ts'

let directory: string
let count = 0
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lock-test-'))
})
after(() => rm(directory, { recursive: true }))

function newPath(): string {
  count++
  return join(directory, `lock${count}`)
}

/** A process that takes the lock, says so, and holds it until it is killed or its input ends. */
async function holder(path: string): Promise<ChildProcess> {
  const module = new URL('./lock_file.ts', import.meta.url).href
  const program = `
    const { LockFile } = await import(${JSON.stringify(module)})
    const lock = await LockFile.acquire(${JSON.stringify(path)}, 'disk')
    process.stdout.write('held')
    process.stdin.on('end', () => lock.release()).resume()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout!, 'data')
  return child
}

test('a lock held by another process is refused with its pid, until it is given back', async () => {
  const path = newPath()
  const child = await holder(path)
  await assert.rejects(LockFile.acquire(path, 'disk'), (error) => {
    assert.ok(error instanceof UserError)
    assert.match(error.message, new RegExp(`^disk is in use by process ${child.pid}: stop it first`))
    return true
  })
  child.stdin!.end()
  await once(child, 'exit')
  const lock = await LockFile.acquire(path, 'disk')
  await lock.release()
})

test('the lock of a process that was killed is taken over', async () => {
  const path = newPath()
  const child = await holder(path)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = await LockFile.acquire(path, 'disk')
  assert.equal(JSON.parse(await readFile(path, 'utf8')).pid, process.pid)
  await lock.release()
})

test('the lock of a process that was killed, and whose parent does not ask for its status, is taken over', {
  skip: process.platform !== 'linux',
}, async () => {
  const path = newPath()
  const module = new URL('./lock_file.ts', import.meta.url).href
  const program = `
    const { LockFile } = await import(${JSON.stringify(module)})
    await LockFile.acquire(${JSON.stringify(path)}, 'disk')
    process.kill(process.pid, 'SIGKILL')`
  const script = '"$0" --input-type=module -e "$1" </dev/null & echo $!; exec sleep 600'
  const parent = spawn('sh', ['-c', script, process.execPath, program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const [bytes] = (await once(parent.stdout!, 'data')) as [Buffer]
    const folder = `/proc/${Number(bytes.toString())}`
    // Its last thread may be gone some time after its first one, and holds the lock until then.
    const isGone = async (): Promise<boolean> =>
      (await readFile(`${folder}/stat`, 'utf8')).includes(') Z ') &&
      (await readdir(`${folder}/task`)).length === 1
    while (!(await isGone())) await new Promise((resolve) => setImmediate(resolve))
    const lock = await LockFile.acquire(path, 'disk')
    await lock.release()
  } finally {
    parent.kill('SIGKILL')
  }
})

test('a process cannot take a lock twice', async () => {
  const path = newPath()
  const lock = await LockFile.acquire(path, 'disk')
  await assert.rejects(LockFile.acquire(path, 'disk'), /^InUseError: disk is in use by this process already/)
  await lock.release()
})

/** A lock like ours of now, with some fields changed. */
async function writeLock(path: string, changes: object): Promise<void> {
  const lock = await LockFile.acquire(path, 'disk')
  const text = JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...changes })
  await lock.release()
  await writeFile(path, text)
}

test('a pid that now belongs to another process, or was another boot, holds nothing', async () => {
  for (const changes of [{ startTime: '1' }, { boot: 'another', startTime: '1' }]) {
    const path = newPath()
    await writeLock(path, changes)
    await (await LockFile.acquire(path, 'disk')).release()
  }
})

test('a holder whose life cannot be known is refused', async () => {
  for (const [changes, message] of [
    [{ host: 'elsewhere' }, /process \d+ on host elsewhere/],
    [{ pidNamespace: 'pid:[1]', startTime: '1' }, /process \d+ in another container/],
    [{ token: 7 }, /the lock .* is damaged/],
  ] as const) {
    const path = newPath()
    await writeLock(path, changes)
    await assert.rejects(LockFile.acquire(path, 'disk'), message)
  }
})

test('of many that meet a dead lock at once at most one gets it, and nothing is left over', async () => {
  for (let round = 0; round < 20; round++) {
    const place = await mkdtemp(join(directory, 'race-'))
    const path = join(place, 'lock')
    await writeLock(path, { startTime: '1' })
    const tries = await Promise.allSettled(Array.from({ length: 6 }, () => LockFile.acquire(path, 'disk')))
    const taken = tries.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
    assert.ok(taken.length <= 1, `${taken.length} holders`)
    for (const attempt of tries) {
      if (attempt.status === 'rejected')
        assert.ok(attempt.reason instanceof UserError, String(attempt.reason))
    }
    assert.deepEqual(await readdir(place), taken.length === 1 ? ['lock'] : [])
    for (const lock of taken) await lock.release()
  }
})

test('whether a lock is held is asked without taking it', async () => {
  const path = newPath()
  assert.equal(await LockFile.isHeld(path), false)
  const child = await holder(path)
  assert.equal(await LockFile.isHeld(path), true)
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.equal(await LockFile.isHeld(path), false)
})
