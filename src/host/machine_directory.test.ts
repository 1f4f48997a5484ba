import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, test } from 'node:test'
import type { ArbiterAnswer } from '../replication/arbiter.ts'
import { BaseImage, SECTOR_BYTES } from './base_image.ts'
import { MachineDirectory } from './machine_directory.ts'
import { openArbiter } from './open_arbiter.ts'

const FIRST = '0123456789abcdef0123456789abcdef'
const SECOND = 'fedcba9876543210fedcba9876543210'

let directory: string
let base: BaseImage
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'machine-test-'))
  await writeFile(join(directory, 'base'), randomBytes(40 * SECTOR_BYTES))
  base = await BaseImage.open(join(directory, 'base'))
})
after(async () => {
  await base.close()
  await rm(directory, { recursive: true })
})

async function newRoot(): Promise<string> {
  return join(await mkdtemp(join(directory, 'root-')), 'deep', 'machines')
}

/** It has no syncs of directories. */
const isWindows = process.platform === 'win32'

const noNotice = (text: string): void => assert.fail(`noticed: ${text}`)

async function withMachine<T>(root: string, use: (machine: MachineDirectory) => Promise<T>): Promise<T> {
  const machine = await MachineDirectory.open(root, 'web', noNotice)
  try {
    return await use(machine)
  } finally {
    await machine.close()
  }
}

/** Makes the machine's disk, with a first sector of `value`. */
async function createDisk(root: string): Promise<void> {
  await withMachine(root, async (machine) => {
    const disk = await machine.createDisk(base, FIRST, 64)
    await disk.write(0, new Uint8Array(SECTOR_BYTES).fill(1))
    await disk.close()
  })
}

test('a machine has one process on a host at a time', async () => {
  const root = await newRoot()
  const machine = await MachineDirectory.open(root, 'web', noNotice)
  await assert.rejects(
    MachineDirectory.open(root, 'web', noNotice),
    /^InUseError: machine web in .* is in use by this process already/,
  )
  await (await MachineDirectory.open(root, 'db', noNotice)).close()
  await machine.close()
  await (await MachineDirectory.open(root, 'web', noNotice)).close()
  if (!isWindows) assert.equal((await stat(join(root, 'web'))).mode & 0o777, 0o700)
})

test('a name that is no machine, or a root that is no directory, is refused', async () => {
  for (const name of ['', '..', 'a/b', '.hidden']) {
    await assert.rejects(MachineDirectory.open(directory, name, noNotice), /^UserError: machine name/)
  }
  const root = join(directory, 'base')
  await assert.rejects(MachineDirectory.open(root, 'web', noNotice), /^UserError: cannot create .*base/)
})

test('a disk keeps its generation from process to process', async () => {
  const root = await newRoot()
  await withMachine(root, async (machine) => {
    assert.equal(await machine.diskGeneration(base), undefined)
    await assert.rejects(machine.openDisk(base), /^FormatError|^UserError/)
  })
  await createDisk(root)
  await withMachine(root, async (machine) => {
    assert.equal(await machine.diskGeneration(base), FIRST)
    const disk = await machine.openDisk(base)
    assert.equal(disk.sectors, 64)
    assert.equal((await disk.read(0, 1))[7], 1)
    await disk.close()
    await assert.rejects(
      machine.createDisk(base, SECOND),
      /^UserError: cannot create overlay .*exists already/,
    )
  })
})

test('a generation that was voided never comes back, though the disk was open', async () => {
  const root = await newRoot()
  await createDisk(root)
  await withMachine(root, async (machine) => {
    const disk = await machine.openDisk(base)
    await machine.voidGeneration()
    await machine.voidGeneration()
    assert.equal(await machine.diskGeneration(base), undefined)
    await disk.write(8, new Uint8Array(SECTOR_BYTES).fill(2))
    await disk.close()
    assert.equal(await machine.diskGeneration(base), undefined)
    // And again, with one that was made since.
    await (await machine.createDisk(base, SECOND)).close()
    assert.equal(await machine.diskGeneration(base), SECOND)
    await machine.voidGeneration()
  })
  await withMachine(root, async (machine) => {
    assert.equal(await machine.diskGeneration(base), undefined)
    assert.deepEqual(await readdir(machine.path), ['lock'], 'its room is free')
  })
})

/** Counts the syncs of files and directories until it is asked. */
async function countSyncs(): Promise<() => number> {
  const file = await open(join(directory, 'base'), 'r')
  const sync = mock.method(Object.getPrototypeOf(file) as typeof file, 'sync')
  await file.close()
  return () => {
    sync.mock.restore()
    return sync.mock.callCount()
  }
}

test('voiding is durable when it returns, also if the disk was moved away before', {
  skip: isWindows,
}, async () => {
  const root = await newRoot()
  await createDisk(root)
  await withMachine(root, async (machine) => {
    for (let round = 0; round < 2; round++) {
      const syncs = await countSyncs()
      await machine.voidGeneration()
      assert.equal(syncs(), 1)
    }
  })
})

test('what a dead process left in the index is durable when the disk is open', {
  skip: isWindows,
}, async () => {
  const root = await newRoot()
  await createDisk(root)
  await withMachine(root, async (machine) => {
    const syncs = await countSyncs()
    const disk = await machine.openDisk(base)
    // The lock, the index, and the directory that has it.
    assert.equal(syncs(), 3)
    await disk.close()
  })
})

test('a disk that joined replaces the old one', async () => {
  const root = await newRoot()
  await createDisk(root)
  await withMachine(root, async (machine) => {
    const joining = await machine.beginJoin(base, 64)
    assert.equal(await machine.diskGeneration(base), FIRST)
    await joining.data(0, new Uint8Array(SECTOR_BYTES).fill(9))
    await (await joining.finish(SECOND)).close()
    assert.equal(await machine.diskGeneration(base), SECOND)
    assert.deepEqual((await readdir(machine.path)).sort(), ['disk', 'lock'])
  })
})

test('what a dead process left is cleared away, and what it finished is not', async () => {
  const root = await newRoot()
  await createDisk(root)
  const path = join(root, 'web')
  for (const name of [
    'disk.joining',
    'disk.old',
    'disk.void.1234',
    '.disk.7.abc.tmp',
    '.disk.joining.7.abc.tmp',
  ]) {
    await mkdir(join(path, name))
    await writeFile(join(path, name, 'data'), 'unfinished')
  }
  await writeFile(join(path, '.arbiter.json.7.abc.tmp'), 'unfinished')
  await writeFile(join(path, 'notes'), "the operator's")
  await withMachine(root, async (machine) => {
    assert.deepEqual((await readdir(path)).sort(), ['disk', 'lock', 'notes'])
    assert.equal(await machine.diskGeneration(base), FIRST)
  })
})

test('a name that a dying process took for a disk is free again', async () => {
  const root = await newRoot()
  await mkdir(join(root, 'web', 'disk'), { recursive: true })
  await createDisk(root)
  assert.equal(await withMachine(root, (machine) => machine.diskGeneration(base)), FIRST)
})

test('a join that died between its renames leaves no disk', async () => {
  const root = await newRoot()
  await createDisk(root)
  await rename(join(root, 'web', 'disk'), join(root, 'web', 'disk.old'))
  await withMachine(root, async (machine) => {
    assert.equal(await machine.diskGeneration(base), undefined)
    assert.ok(!existsSync(`${machine.diskPath}.old`))
  })
})

test('a damaged disk counts as none, people are told, and nothing is written over it', async () => {
  const root = await newRoot()
  await createDisk(root)
  await truncate(join(root, 'web', 'disk', 'index'), 50)
  const notices: string[] = []
  const machine = await MachineDirectory.open(root, 'web', (text) => notices.push(text))
  assert.equal(await machine.diskGeneration(base), undefined)
  assert.match(notices.join(), /^the disk of machine web counts as none: overlay index .*: byte \d+/)
  await assert.rejects(machine.createDisk(base, SECOND), /exists already/)
  await machine.close()
})

test('a disk of another base is refused', async () => {
  const root = await newRoot()
  await createDisk(root)
  await writeFile(join(directory, 'other'), 'another base')
  const other = await BaseImage.open(join(directory, 'other'))
  await withMachine(root, async (machine) => {
    await assert.rejects(machine.diskGeneration(other), /^UserError: .* was made for another base/)
  })
  await other.close()
})

/** Lets a process that opens the directory propose the first decision to its arbiter, or ask for the latest. */
async function askArbiter(
  root: string,
  shared: string,
  question: 'propose' | 'read',
): Promise<ArbiterAnswer> {
  return withMachine(root, async (machine) => {
    const { arbiter } = await openArbiter(`file:${shared}`, 'web', {
      past: await machine.arbiterPast(),
      timeoutMs: 30_000,
    })
    const answer = await new Promise<ArbiterAnswer>((resolve) => {
      if (question === 'read') arbiter.read(resolve)
      else arbiter.propose(undefined, { epoch: 1, text: 'first' }, resolve)
    })
    arbiter.close()
    return answer
  })
}

test('an arbiter that forgot while no process ran is not trusted', async () => {
  const [root, shared] = [await newRoot(), await mkdtemp(join(directory, 'shared-'))]
  assert.equal((await askArbiter(root, shared, 'propose')).kind, 'current')
  assert.equal((await askArbiter(root, shared, 'read')).kind, 'current')
  await rm(join(shared, 'web'), { recursive: true })
  const answer = await askArbiter(root, shared, 'read')
  assert.equal(answer.kind, 'untrusted')
  assert.match('reason' in answer ? answer.reason : '', /forgotten decision 1/)
  const stored = await readFile(join(root, 'web', 'arbiter.json'), 'utf8')
  await writeFile(join(root, 'web', 'arbiter.json'), stored.replace('first', 'fIrst'))
  await assert.rejects(askArbiter(root, shared, 'read'), /^FormatError: .*arbiter\.json: damaged/)
})
