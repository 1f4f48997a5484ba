import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UserError } from '../base/errors.ts'
import type { SharedStorage } from './file_arbiter.ts'
import { StorageProof } from './storage_proof.ts'

/** A directory that hosts see, or that hangs. */
class Storage implements SharedStorage {
  isAway = false
  asked = 0
  written = 0
  readonly #nonces = new Set<string>()

  writeNonce(host: string): Promise<string> {
    this.written++
    if (this.isAway) return Promise.reject(new UserError('no answer'))
    const nonce = `${this.#nonces.size}`.padStart(32, '0')
    this.#nonces.add(`${host} ${nonce}`)
    return Promise.resolve(nonce)
  }

  hasNonce(host: string, nonce: string): Promise<boolean> {
    this.asked++
    if (this.isAway) return Promise.reject(new UserError('no answer'))
    return Promise.resolve(this.#nonces.has(`${host} ${nonce}`))
  }
}

/** Lets what is under way come to this; it needs no time, only turns. */
async function until(isSo: () => boolean): Promise<void> {
  for (let turn = 0; !isSo(); turn++) {
    assert.ok(turn < 1000, 'it does not come to this')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

function closeAll(...proofs: readonly StorageProof[]): void {
  for (const proof of proofs) proof.close()
}

async function proofOf(storage: SharedStorage, host: string): Promise<StorageProof> {
  const proof = new StorageProof(storage, host, () => {})
  await proof.open()
  return proof
}

test('hosts that see the same directory find each other there, others do not', async (t) => {
  const shared = new Storage()
  const [a, b, c] = [
    await proofOf(shared, 'a'),
    await proofOf(shared, 'b'),
    await proofOf(new Storage(), 'c'),
  ]
  t.after(() => closeAll(a, b, c))
  assert.equal(await a.problem('b', b.info), undefined)
  assert.equal(await b.problem('a', a.info), undefined)
  assert.match((await a.problem('c', c.info))!, /another one than that of c/)
  assert.match((await c.problem('a', a.info))!, /another one than that of a/)
  // What b has written does not prove who calls itself c.
  assert.match((await a.problem('c', b.info))!, /another one/)
})

test('a process is asked for its proof once: while the storage hangs its channel comes back, and no other', async (t) => {
  const shared = new Storage()
  const [a, b] = [await proofOf(shared, 'a'), await proofOf(shared, 'b')]
  assert.equal(await a.problem('b', b.info), undefined)
  shared.isAway = true
  assert.equal(await a.problem('b', b.info), undefined)
  assert.equal(shared.asked, 1)
  shared.isAway = false
  const next = await proofOf(shared, 'b')
  t.after(() => closeAll(a, b, next))
  shared.isAway = true
  assert.match((await a.problem('b', next.info))!, /cannot be found out: no answer/)
})

test('a host that could not write is not let in until it has', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const shared = new Storage()
  const a = await proofOf(shared, 'a')
  shared.isAway = true
  const notices: string[] = []
  const b = new StorageProof(shared, 'b', (text) => notices.push(text))
  t.after(() => closeAll(a, b))
  await b.open()
  assert.deepEqual(b.info, {})
  assert.match((await a.problem('b', b.info))!, /b has not written/)
  shared.isAway = false
  t.mock.timers.tick(1000)
  await until(() => b.info['arbiterNonce'] !== undefined)
  assert.equal(await a.problem('b', b.info), undefined)
  assert.deepEqual(notices, [])
})

test('a host that cannot write for long says so once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const shared = new Storage()
  shared.isAway = true
  const notices: string[] = []
  const b = new StorageProof(shared, 'b', (text) => notices.push(text))
  t.after(() => b.close())
  await b.open()
  for (let attempt = 2; attempt < 6; attempt++) {
    t.mock.timers.tick(1000)
    await until(() => shared.written === attempt)
  }
  assert.deepEqual(notices, ['no mark at the arbiter: no answer'])
})

test('a proof that is closed touches the storage no more', async () => {
  const shared = new Storage()
  const [a, b] = [await proofOf(shared, 'a'), await proofOf(shared, 'b')]
  a.close()
  assert.equal(await a.problem('b', b.info), 'this process ends')
  assert.equal(shared.asked, 0)
})
