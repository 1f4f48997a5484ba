import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { UserError } from '../base/errors.ts'
import type { Computer } from '../board/computer.ts'
import { smallComputer } from '../board/testing/small_computer.ts'
import { nodeEngine } from '../host/engine.ts'
import { encodeWitnessEntry, encodeWitnessHeader, WitnessDecoder } from '../log/witness.ts'
import { type ReplayResult, replay } from './replay.ts'
import { describeDivergence, replayReport } from './replay_report.ts'
import { type ImageFiles, Session } from './session.ts'
import { smallImage } from './testing/small_image.ts'
import { WitnessWriter } from './witness_file.ts'

/** Fills one page after the other, round and round. */
const SOURCE = `
    li s0, 0x83000000
  again: li s1, 0x83040000; mv s2, s0
  loop: addi s3, s3, 1; sd s3, 0(s2); addi s2, s2, 8; bltu s2, s1, loop; j again`
const MEBIBYTE = 2 ** 20

let folder: string
let image: ImageFiles
let path: string
let witnesses: string

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'understudy-witness-'))
  image = await smallImage(folder, SOURCE)
  path = join(folder, 'session.rec')
  witnesses = `${path}.witness`
  await record()
})

after(() => rm(folder, { recursive: true, force: true }))

const open = (notices: string[] = []): Promise<Session> =>
  Session.open({
    ...{ image, harts: 1, ramBytes: 64 * MEBIBYTE, bootArguments: '', record: path },
    onOutput: () => {},
    onNotice: (text) => notices.push(text),
  })

/** Records a little, with a digest in the midst of it and one at the end. */
async function record(): Promise<void> {
  const session = await open()
  for (let part = 0; part < 2; part++) {
    setTimeout(() => session.runner.stop(), 30)
    await session.run()
    if (part === 0) session.recorder.recordDigest()
  }
  await session.close()
}

/** Replays, with a change to the computer at its first stop. */
function replayWith(change: (computer: Computer) => void): Promise<ReplayResult> {
  let isChanged = false
  return replay({
    path,
    findImage: () => image,
    onProgress: (computer) => {
      if (!isChanged) change(computer)
      isChanged = true
    },
  })
}

const flipRegister = ({ machine }: Computer): void => machine.harts[0]!.setX(28, 3n)

function messageOf({ divergence, explanation }: ReplayResult): string {
  assert.ok(divergence !== undefined)
  return describeDivergence(divergence, explanation)
}

/** What the message says with other witnesses in the file. */
async function messageWith(change: (bytes: Uint8Array) => Promise<void>): Promise<string> {
  const good = await readFile(witnesses)
  try {
    await change(Uint8Array.from(good))
    return messageOf(await replayWith(flipRegister))
  } finally {
    await writeFile(witnesses, good)
  }
}

test('without a difference nothing is to be explained', async () => {
  const { divergence, explanation, counts } = await replayWith(() => {})
  assert.equal(divergence, undefined)
  assert.equal(explanation, undefined)
  assert.equal(counts.digests, 2)
})

test('a register that differs is named in the message and in the report', async () => {
  const result = await replayWith(flipRegister)
  assert.match(
    messageOf(result),
    /^differs at position \d+, pc 0x8[0-9a-f]{7}, record \d+; computer\.hart0\.x28: recorded 0x0, replayed 0x3; arose behind position 0, where all was equal$/,
  )
  const report = JSON.parse(JSON.stringify(replayReport(result)))
  assert.deepEqual(report.divergence.field, {
    path: 'computer.hart0.x28',
    recorded: '0x0',
    replayed: '0x3',
  })
  assert.equal(report.divergence.equalAt, 0)
})

test('a page that differs is named in the message and in the report', async () => {
  const result = await replayWith(({ machine }) => machine.ram.write(0x8200_0123, Uint8Array.of(1)))
  assert.match(
    messageOf(result),
    /; page 0x82000000, the first of 1: hash recorded 0{16}, replayed [0-9a-f]{16}; arose/,
  )
  assert.equal(JSON.parse(JSON.stringify(replayReport(result))).divergence.page.address, '0x82000000')
})

test('a difference behind an equal digest arose behind that, and is named by the later witness', async () => {
  const first = (await replayWith(flipRegister)).divergence!.position
  let isChanged = false
  const later = await replay({
    path,
    findImage: () => image,
    onProgress: (computer) => {
      if (isChanged || computer.position <= first) return
      isChanged = true
      flipRegister(computer)
    },
  })
  assert.equal(later.divergence?.equalAt, first)
  assert.match(messageOf(later), /; computer\.hart0\.x28: recorded 0x0, replayed 0x3; /)
})

test('without witnesses the message says so', async () => {
  const message = await messageWith(() => rm(witnesses))
  assert.match(message, /; digest of the machine: recorded 0x[0-9a-f]+, replayed 0x[0-9a-f]+; arose/)
  assert.match(message, /; register or page unknown: cannot read witnesses .*: no such file/)
})

test('witnesses that end too early are not believed to be whole', async () => {
  const message = await messageWith(() => truncate(witnesses, 100))
  assert.match(message, /; register or page unknown: .*session\.rec\.witness has no witness of record \d+: /)
})

test('damaged witnesses are refused, and the difference is reported all the same', async () => {
  const message = await messageWith((bytes) => writeFile(witnesses, bytes.with(70, bytes[70]! ^ 1)))
  assert.match(message, /; digest of the machine: .*unknown: .*\.witness: byte \d+: a damaged entry/)
})

test('the witnesses of another recording are refused', async () => {
  const other = await readFile(witnesses)
  await record()
  await writeFile(witnesses, other)
  assert.match(messageOf(await replayWith(flipRegister)), /belongs to another recording/)
  await record()
})

test('witnesses that do not give the recorded digest are refused, though they are of the same life', async () => {
  const message = await messageWith((bytes) => {
    const decoder = new WitnessDecoder(witnesses)
    decoder.push(bytes)
    const entry = decoder.next()!
    const hashes = entry.hashes.map((hash) => hash ^ 1n)
    const parts = [encodeWitnessHeader(decoder.header!), encodeWitnessEntry({ ...entry, hashes })]
    return writeFile(witnesses, Buffer.concat(parts))
  })
  assert.match(message, /belongs to another recording/)
})

test('a file of another kind is not overwritten with witnesses, nor is the recording begun', async () => {
  const [recording, good] = [await readFile(path), await readFile(witnesses)]
  await writeFile(witnesses, 'the only copy of a testimony')
  await assert.rejects(open(), (error) => error instanceof UserError && /is in the way/.test(error.message))
  assert.deepEqual(await readFile(path), recording)
  await writeFile(witnesses, good)
})

test('a recording to a device has no witnesses beside it', async () => {
  const session = await Session.open({
    ...{ image, harts: 1, ramBytes: 64 * MEBIBYTE, bootArguments: '', record: '/dev/null' },
    onOutput: () => {},
    onNotice: () => {},
  })
  await session.close()
  assert.equal(existsSync('/dev/null.witness'), false)
})

test('a full disk ends the witnesses with one notice, and nothing else', () => {
  const failures: unknown[] = []
  const computer = smallComputer(nodeEngine, SOURCE)
  const { layout, ram } = computer.machine
  const header = { life: 1, ramPages: layout.ramPages }
  const writer = new WitnessWriter('/dev/full', header, (error) => failures.push(error))
  writer.add({ index: 0n, position: 0n, state: computer.saveState() }, ram)
  writer.close()
  assert.equal(failures.length, 1)
  assert.match(String(failures[0]), /cannot write witnesses \/dev\/full: the file system is full/)
})
