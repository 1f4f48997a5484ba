import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { UserError } from '../base/errors.ts'
import type { Decision } from '../replication/arbiter.ts'
import { DecisionDirectory } from './decision_directory.ts'
import { encodeRecord } from './decision_record.ts'
import { UntrustedError } from './shared_files.ts'

const UNKNOWN = { identity: undefined, decision: undefined }

let root: string
let path: string
let count = 0
before(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'decisions-'))
})
after(() => fs.rmSync(root, { recursive: true }))

/** A new directory with decisions of machine `m`. */
function directoryWith(decisions: number): DecisionDirectory {
  path = join(root, `${++count}`)
  fs.mkdirSync(path)
  const directory = new DecisionDirectory(path, 'm')
  for (let epoch = 1; epoch <= decisions; epoch++) {
    assert.deepEqual(
      directory.propose(UNKNOWN, decision(epoch - 1), decision(epoch)!).decision,
      decision(epoch),
    )
  }
  return directory
}

function decision(epoch: number): Decision | undefined {
  return epoch === 0 ? undefined : { epoch, text: `decision ${epoch}` }
}

function file(epoch: number): string {
  return join(path, 'm', `${epoch}`.padStart(10, '0'))
}

function assertUntrusted(directory: DecisionDirectory, message: RegExp): void {
  assert.throws(
    () => directory.read(UNKNOWN),
    (error) => {
      assert.ok(error instanceof UntrustedError, String(error))
      assert.match(error.message, message)
      return true
    },
  )
}

test('a record with any byte changed, cut off or too long is not trusted, and never taken for absent', () => {
  const directory = directoryWith(2)
  const bytes = fs.readFileSync(file(2))
  for (let i = 0; i < bytes.length; i++) {
    const damaged = Buffer.from(bytes)
    damaged[i]! ^= 1 << (i % 8)
    fs.writeFileSync(file(2), damaged)
    assertUntrusted(directory, /\/m\/0000000002: [^\n]+: restore it from a backup$/)
    fs.writeFileSync(file(2), bytes.subarray(0, i))
    assertUntrusted(directory, /\/m\/0000000002: (damaged|not in canonical form)/)
  }
  for (const more of ['\n', 'x', '\0'.repeat(20_000)]) {
    fs.writeFileSync(file(2), `${bytes}${more}`)
    assertUntrusted(directory, /canonical|too many/)
  }
  fs.writeFileSync(file(2), bytes)
  assert.deepEqual(directory.read(UNKNOWN).decision, decision(2))
})

test('a whole record in the wrong place is not trusted', () => {
  const directory = directoryWith(2)
  fs.copyFileSync(file(1), file(2))
  assertUntrusted(directory, /0000000002: holds decision 1/)
  fs.writeFileSync(file(2), encodeRecord('other', decision(2)!))
  assertUntrusted(directory, /0000000002: belongs to machine other/)
})

test('a gap in the chain, or a name that is nearly that of a decision, is not trusted', () => {
  const cases: [() => void, RegExp][] = [
    [() => fs.rmSync(file(2)), /0000000002 is missing, though there are later ones/],
    [() => fs.rmSync(file(1)), /0000000001 is missing/],
    [() => fs.renameSync(file(3), `${file(3)}.bak`), /0000000003\.bak: not the name of a decision/],
    [() => fs.copyFileSync(file(3), `${file(3)} (conflicting copy)`), /conflicting copy\): not the name/],
    [() => fs.copyFileSync(file(3), join(path, 'm', '0000000000')), /0000000000: not the name/],
    [() => fs.copyFileSync(file(3), join(path, 'm', '4294967296')), /4294967296: not the name/],
  ]
  for (const [spoil, message] of cases) {
    const directory = directoryWith(3)
    spoil()
    assertUntrusted(directory, message)
  }
})

test('what other programs leave there is no matter', () => {
  const directory = directoryWith(1)
  for (const name of ['.nfs0000001', '.0000000002.1.ab.tmp', 'lost+found', '@eaDir', 'README']) {
    fs.writeFileSync(join(path, 'm', name), 'x')
  }
  assert.deepEqual(directory.propose(UNKNOWN, decision(1), decision(2)!).decision, decision(2))
})

test('a link, a pipe or a directory in the place of a record is not trusted, and does not hang', () => {
  const makers = [
    (name: string) => fs.symlinkSync(file(1), name),
    (name: string) => assert.equal(spawnSync('mkfifo', [name]).status, 0),
    (name: string) => fs.mkdirSync(name),
  ]
  for (const make of makers) {
    const directory = directoryWith(1)
    make(file(2))
    assertUntrusted(directory, /0000000002: not a plain file/)
  }
})

test('a directory that is missing is not made, and is no other directory either', () => {
  path = join(root, 'missing')
  const directory = new DecisionDirectory(path, 'm')
  for (const use of [
    () => directory.read(UNKNOWN),
    () => directory.propose(UNKNOWN, undefined, decision(1)!),
  ]) {
    assert.throws(use, (error) => {
      assert.ok(error instanceof UserError && !(error instanceof UntrustedError))
      assert.match(error.message, /missing: no such directory: mount the storage/)
      return true
    })
  }
  assert.ok(!fs.existsSync(path))
})

/** Whoever answers so has not answered: it may come back. */
const isGone = (error: unknown): boolean =>
  error instanceof UserError && !(error instanceof UntrustedError) && /is it mounted\?$/.test(error.message)

test('another directory under a path that was known is not trusted; none is as good as no answer', () => {
  const directory = directoryWith(1)
  const known = directory.read(UNKNOWN)
  assert.deepEqual(directory.read(known), known)
  fs.renameSync(path, `${path}.away`)
  assert.throws(() => directory.read(known), isGone)
  fs.mkdirSync(path)
  assert.throws(() => directory.propose(known, decision(1), decision(2)!), isGone)
  assert.deepEqual(fs.readdirSync(path), [])
  directory.read(UNKNOWN)
  assert.throws(
    () => directory.read(known),
    /UntrustedError: .*\(identity [0-9a-f]{32}, it was [0-9a-f]{32}\)/,
  )
  fs.writeFileSync(join(path, '.identity'), 'x')
  assertUntrusted(directory, /\.identity: damaged/)
})

test('decisions without an identity are not trusted', () => {
  const directory = directoryWith(1)
  fs.rmSync(join(path, '.identity'))
  assertUntrusted(directory, /\.identity is missing, though there are decisions/)
})

test('a directory that becomes another one in the middle of a request is not trusted', () => {
  const directory = directoryWith(1)
  const other = `${path}.other`
  fs.cpSync(path, other, { recursive: true })
  fs.writeFileSync(join(other, '.identity'), `understudy arbiter 1 ${'0'.repeat(32)}\n`)
  intercept('readdirSync', (original, parameters) => {
    fs.renameSync(path, `${path}.away`)
    fs.renameSync(other, path)
    return original(...parameters)
  })
  assertUntrusted(directory, /became another directory/)
})

test('a decision that was seen must stay as it was', () => {
  const directory = directoryWith(2)
  const known = directory.read(UNKNOWN)
  directory.propose(known, decision(2), decision(3)!)
  fs.writeFileSync(file(2), encodeRecord('m', { epoch: 2, text: 'changed' }))
  assert.throws(() => directory.read(known), /UntrustedError: .*decision 2 is another one than before/)
  fs.rmSync(file(3))
  assert.notDeepEqual(directory.read(known), known)
})

test('a late link finds its place taken, or its file cleared away', () => {
  const directory = directoryWith(1)
  const late = directory.prepare({ epoch: 2, text: 'late' })
  directory.propose(UNKNOWN, decision(1), decision(2)!)
  directory.propose(UNKNOWN, decision(2), decision(3)!)
  assert.deepEqual(directory.land(late, decision(1), { epoch: 2, text: 'late' }), decision(3))
  const cleared = directory.prepare({ epoch: 4, text: 'late' })
  fs.rmSync(cleared)
  assert.throws(
    () => directory.land(cleared, decision(3), { epoch: 4, text: 'late' }),
    /UserError: cannot link/,
  )
  assert.deepEqual(directory.read(UNKNOWN).decision, decision(3))
})

/** Replaces a function of node:fs once, or for several calls, for all modules, until the next test. */
function intercept<Name extends 'linkSync' | 'fsyncSync' | 'readdirSync'>(
  name: Name,
  replacement: (original: (...parameters: unknown[]) => unknown, parameters: unknown[]) => unknown,
  { isMeant = (..._: unknown[]): boolean => true, calls = 1 } = {},
): void {
  const functions = fs as unknown as Record<string, (...parameters: unknown[]) => unknown>
  const original = functions[name]!
  let left = calls
  functions[name] = (...parameters) => {
    if (left === 0 || !isMeant(...parameters)) return original(...parameters)
    left--
    return replacement(original, parameters)
  }
  syncBuiltinESMExports()
  restore.push(() => {
    functions[name] = original
    syncBuiltinESMExports()
  })
}

const restore: (() => void)[] = []
afterEach(() => {
  for (const undo of restore.splice(0).reverse()) undo()
})

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'link' })
}

/** Calls of link that give a decision its name. */
const decisions = { isMeant: (_from: unknown, to: unknown): boolean => /\/\d{10}$/.test(String(to)) }

test('a link that is said to have failed, and took effect, has won', () => {
  for (const code of ['EEXIST', 'EIO', 'ETIMEDOUT', 'ENOENT']) {
    const directory = directoryWith(1)
    const act = (original: (...parameters: unknown[]) => unknown, parameters: unknown[]): void => {
      original(...parameters)
      throw systemError(code)
    }
    intercept('linkSync', act, decisions)
    assert.deepEqual(directory.propose(UNKNOWN, decision(1), decision(2)!).decision, decision(2))
  }
})

test('a link that is said to have worked, or that fails, has no outcome while it cannot be seen', () => {
  const cases: [string | undefined, RegExp][] = [
    [undefined, /0000000002 is there and cannot be seen/],
    ['EEXIST', /0000000002 is there and cannot be seen/],
    ['ETIMEDOUT', /cannot link .*0000000002: the storage does not answer/],
    ['EPERM', /cannot link .*0000000002: this file system has no hard links/],
    ['ENOSPC', /cannot link .*0000000002: the file system is full/],
  ]
  for (const [code, message] of cases) {
    const directory = directoryWith(1)
    const act = (): void => {
      if (code !== undefined) throw systemError(code)
    }
    intercept('linkSync', act, decisions)
    assert.throws(
      () => directory.propose(UNKNOWN, decision(1), decision(2)!),
      (error) => {
        assert.ok(error instanceof UserError && !(error instanceof UntrustedError), String(error))
        assert.match(error.message, message)
        return true
      },
    )
    assert.deepEqual(directory.propose(UNKNOWN, decision(1), decision(2)!).decision, decision(2))
  }
})

test('another decision that came first is what is answered, whatever link says', () => {
  for (const code of [undefined, 'EEXIST', 'EIO']) {
    const directory = directoryWith(1)
    const act = (): void => {
      fs.writeFileSync(file(2), encodeRecord('m', { epoch: 2, text: 'other' }))
      if (code !== undefined) throw systemError(code)
    }
    intercept('linkSync', act, decisions)
    const found = directory.propose(UNKNOWN, decision(1), decision(2)!)
    assert.deepEqual(found.decision, { epoch: 2, text: 'other' })
  }
})

test('a decision is durable before it has its name, and its name before anybody answers with it', () => {
  const directory = directoryWith(1)
  const synced: string[] = []
  const note = (original: (...parameters: unknown[]) => unknown, parameters: unknown[]): unknown => {
    const target = fs.readlinkSync(`/proc/self/fd/${parameters[0]}`)
    synced.push(target.endsWith('.tmp') ? 'file' : target.slice(path.length))
    synced.push(fs.existsSync(file(2)) ? 'linked' : 'not linked')
    return original(...parameters)
  }
  intercept('fsyncSync', note, { calls: 10 })
  directory.propose(UNKNOWN, decision(1), decision(2)!)
  assert.deepEqual(synced, ['file', 'not linked', '/m', 'linked'])
  for (const undo of restore.splice(0).reverse()) undo()
  // Nor does a reader that comes between the link and its writer's sync.
  intercept('fsyncSync', () => {
    throw Object.assign(new Error('EIO'), { code: 'EIO', syscall: 'fsync' })
  })
  assert.throws(() => new DecisionDirectory(path, 'm').read(UNKNOWN), /cannot sync .*\/m: /)
})

test('the folder is changed before it is listed, so that no network client answers from its cache', () => {
  const directory = directoryWith(1)
  const done: string[] = []
  const note = (name: string) => (original: (...parameters: unknown[]) => unknown, parameters: unknown[]) => {
    done.push(name)
    return original(...parameters)
  }
  intercept('linkSync', note('link'), { isMeant: (_from, to) => String(to).startsWith(join(path, 'm')) })
  intercept('readdirSync', note('list'))
  directory.read(UNKNOWN)
  assert.deepEqual(done, ['link', 'list'])
})

test('only what dead writers left behind is ever removed', () => {
  directoryWith(2)
  const [old, young] = ['.0000000003.1.aa.tmp', '.0000000003.2.bb.tmp']
  const longAgo = new Date(Date.now() - 7_200_000)
  for (const name of [old, young]) fs.writeFileSync(join(path, 'm', name), 'x')
  for (const name of [join(path, 'm', old), file(1), file(2)]) fs.utimesSync(name, longAgo, longAgo)
  new DecisionDirectory(path, 'm').propose(UNKNOWN, decision(2), decision(3)!)
  assert.deepEqual(fs.readdirSync(join(path, 'm')).sort(), [young, '0000000001', '0000000002', '0000000003'])
})

test('a nonce is found by those who see the same directory, under the name of its writer', () => {
  const directory = directoryWith(0)
  const nonce = directory.writeNonce(UNKNOWN, 'host a')
  const other = new DecisionDirectory(path, 'm')
  assert.ok(other.hasNonce(UNKNOWN, 'host a', nonce))
  assert.ok(!other.hasNonce(UNKNOWN, 'host b', nonce))
  assert.ok(!other.hasNonce(UNKNOWN, 'host a', '../.identity'))
  assert.ok(!other.hasNonce(UNKNOWN, 'host a', `${'0'.repeat(32)}`))
  fs.utimesSync(join(path, '.nonces', nonce), 1, 1)
  other.writeNonce(UNKNOWN, 'host b')
  assert.ok(!directory.hasNonce(UNKNOWN, 'host a', nonce))
  const elsewhere = directoryWith(0)
  assert.ok(!elsewhere.hasNonce(UNKNOWN, 'host a', nonce))
})
