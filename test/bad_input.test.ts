/**
 * What users and their machines do wrong: damaged files, disks that do not fit, memory that cannot be, full file
 * systems, signals. Each is answered by one line and the documented exit code, and leaves nothing half-written behind.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { UserError } from '../src/base/errors.ts'
import { hash64 } from '../src/base/hash64.ts'
import { BareComputer } from '../src/board/bare.ts'
import { readElf } from '../src/board/elf.ts'
import { EXIT_CODE } from '../src/cli/exit_codes.ts'
import { nodeEngine } from '../src/host/engine.ts'
import { readSnapshot } from '../src/host/snapshot_file.ts'
import { writeManifest } from '../src/image/store.ts'
import { RecordingReader } from '../src/node/recording_file.ts'
import { bareElf } from './bare_elf.ts'
import { type Ended, GuestProcess, launcher, leftovers, understudy } from './guest_process.ts'
import { lacksMounts } from './mounts.ts'
import { systemImage, testEnvironment } from './system_image.ts'

const MIB = 2 ** 20

const image = await systemImage()
const skip = 'missing' in image ? image.missing : false
const name = 'missing' in image ? '' : image.name
const directory = mkdtempSync(join(tmpdir(), 'understudy-bad-'))
after(() => rmSync(directory, { recursive: true }))

const seed = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
console.error(`seed ${seed} (UNDERSTUDY_SEED=${seed} repeats it)`)
let drawn = 0
const random = (limit: number): number => Number(hash64(Uint8Array.of(2), seed + drawn++) % BigInt(limit))

const inDirectory = (parameters: readonly string[]): Promise<Ended> => understudy(parameters, { directory })

/** A failure is one line, without a stack, and nothing half-written. */
function assertFails(ended: Ended, status: number, message: RegExp): void {
  assert.equal(ended.status, status, ended.stderr)
  assert.match(ended.stderr, /^understudy: [^\n]+\n$/)
  assert.match(ended.stderr, message)
  assert.equal(ended.stdout, '')
  assert.deepEqual(leftovers(directory), [])
}

/** Boots until the guest has printed something, and then sends a signal. */
async function bootAndSignal(
  parameters: readonly string[],
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<Ended> {
  const { child, ended } = new GuestProcess([name, '--memory', '128M', ...parameters], { directory })
  await new Promise<void>((resolve) => {
    let printed = ''
    child.stdout!.on('data', (bytes: Buffer) => {
      printed += bytes.toString('latin1')
      if (printed.includes('printk: legacy bootconsole')) resolve()
    })
    void ended.then(() => resolve())
  })
  child.kill(signal)
  return ended
}

/** A copy of a file with one bit changed. */
function flipped(source: string, target: string, bit: number): string {
  const bytes = readFileSync(source)
  bytes[bit >> 3]! ^= 1 << (bit & 7)
  writeFileSync(target, bytes)
  return target
}

/** A copy of the first `length` bytes of a file. */
function truncated(source: string, target: string, length: number): string {
  copyFileSync(source, target)
  truncateSync(target, length)
  return target
}

describe('a machine that is told to end', { skip }, () => {
  it('finishes its recording and its snapshot at SIGTERM, and gives its disk free', async () => {
    const files = ['--disk', 'disk', '--record', 'recording', '--save', 'snapshot']
    const { status, stderr } = await bootAndSignal(files)
    assert.deepEqual({ status, stderr }, { status: EXIT_CODE.terminated, stderr: '' })
    assert.deepEqual(leftovers(directory), [])
    assert.deepEqual(readdirSync(directory).sort(), [
      ...['disk', 'recording', 'recording.witness', 'snapshot', 'snapshot.disk'],
    ])
    const again = await inDirectory(['replay', 'recording'])
    assert.equal(again.status, 0, again.stderr)
    assert.match(again.stdout, /^equal up to position \d+: .* digest [0-9a-f]{16}\n$/)
    assert.equal(again.stderr, '')
  })

  it('ends with the status of the signal', async () => {
    const cases: [NodeJS.Signals, number][] = [
      ['SIGINT', EXIT_CODE.interrupted],
      ['SIGHUP', EXIT_CODE.hangup],
    ]
    for (const [signal, status] of cases)
      assert.equal((await bootAndSignal(['--ephemeral'], signal)).status, status)
  })

  it('leaves a recording that can be replayed when it is killed', async () => {
    const { child, ended } = new GuestProcess([name, '--ephemeral', '--record', 'killed'], { directory })
    while (!existsSync(join(directory, 'killed')) || statSync(join(directory, 'killed')).size < 6000)
      await setTimeout(20)
    child.kill('SIGKILL')
    await ended
    const { status, stdout, stderr } = await inDirectory(['replay', 'killed'])
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^equal up to position \d+/)
    assert.match(stderr, /^understudy: killed has no end mark: [^\n]+\n$/)
  })

  it('goes on from its snapshot, and can be saved and recorded again', async () => {
    const load = ['--ephemeral', '--load', 'snapshot', '--record', 'second', '--save', 'third']
    const guest = new GuestProcess([name, ...load], { directory })
    await new Promise((resolve) => guest.child.stdout!.once('data', resolve))
    guest.child.kill('SIGTERM')
    assert.equal((await guest.ended).status, EXIT_CODE.terminated)
    const again = await inDirectory(['replay', 'second'])
    assert.equal(again.status, 0, again.stderr)
    copyFileSync(join(directory, 'third'), join(directory, 'snapshot.other'))
  })
})

describe('damaged files', { skip }, () => {
  before(() => assert.ok(existsSync(join(directory, 'snapshot'))))
  const path = (file: string): string => join(directory, file)

  it('of snapshots are refused wherever the damage is', async () => {
    const bytes = statSync(path('snapshot')).size
    for (let i = 0; i < 40; i++) {
      // Every other one in the headers at the beginning.
      const at = i % 2 === 0 ? random(bytes) : random(2000)
      const files = [
        flipped(path('snapshot'), path('damaged'), at * 8 + random(8)),
        truncated(path('snapshot'), path('short'), at),
      ]
      for (const file of files) {
        await assert.rejects(readSnapshot(file), { name: 'FormatError', message: /^snapshot [^\n]+$/ })
      }
    }
    cpSync(path('snapshot.disk'), path('damaged.disk'), { recursive: true })
    const load = ['boot', name, '--ephemeral', '--load', 'damaged']
    assertFails(await inDirectory(load), EXIT_CODE.file, /snapshot damaged: /)
    const missing = ['boot', name, '--ephemeral', '--load', 'none']
    assertFails(await inDirectory(missing), EXIT_CODE.file, /cannot read none: no such file/)
    const other = ['boot', name, '--ephemeral', '--load', 'recording']
    assertFails(await inDirectory(other), EXIT_CODE.file, /snapshot recording: byte 0: not a snapshot/)
  })

  it('of recordings are refused, or end the replay where the damage begins', async () => {
    const bytes = statSync(path('recording')).size
    for (let i = 0; i < 60; i++) {
      const at = random(i % 2 === 0 ? bytes : Math.min(bytes, 1500))
      const files = [
        flipped(path('recording'), path('damaged.rec'), at * 8 + random(8)),
        truncated(path('recording'), path('short.rec'), at),
      ]
      for (const file of files) assert.equal(await isWhole(file), false, `byte ${at}`)
    }
    flipped(path('recording'), path('damaged.rec'), Math.floor(bytes / 2) * 8)
    assertFails(await inDirectory(['replay', 'damaged.rec']), EXIT_CODE.file, /damaged\.rec: byte \d+: /)
    truncated(path('recording'), path('short.rec'), 30)
    assertFails(await inDirectory(['replay', 'short.rec']), EXIT_CODE.file, /cut off within the header/)
    assertFails(
      await inDirectory(['replay', 'snapshot']),
      EXIT_CODE.file,
      /snapshot: byte 0: not a recording/,
    )
    assertFails(await inDirectory(['replay', 'none']), EXIT_CODE.file, /cannot read recording none/)
  })

  /** Reads a recording; false if it is damaged or has no end. Every other failure is thrown. */
  async function isWhole(file: string): Promise<boolean> {
    const reader = new RecordingReader(file)
    try {
      for await (const _batch of reader.batches());
      return reader.outcome?.complete === true
    } catch (error) {
      if (error instanceof UserError) return false
      throw error
    }
  }

  it('of disks are refused', async () => {
    const boot = (disk: string): Promise<Ended> => inDirectory(['boot', name, '--disk', disk])
    for (const part of ['index', 'data']) {
      cpSync(path('disk'), path(`bad-${part}`), { recursive: true })
      flipped(path(`disk/${part}`), path(`bad-${part}/${part}`), 8 * 10)
      assertFails(await boot(`bad-${part}`), EXIT_CODE.file, /overlay /)
    }
    writeFileSync(path('text'), 'no disk')
    assertFails(await boot('text'), EXIT_CODE.file, /overlay text is not the disk of a guest: name another/)
    mkdirSync(path('folder'))
    assertFails(await boot('folder'), EXIT_CODE.file, /overlay folder is not the disk of a guest/)
    assert.deepEqual(readdirSync(path('folder')), [])
    assertFails(await boot('snapshot.disk'), EXIT_CODE.failure, /belongs to a snapshot/)
    assertFails(await boot('no/such/folder/disk'), EXIT_CODE.file, /no such file or directory/)
    assert.equal(existsSync(path('no')), false)
  })

  it('of images are refused', async () => {
    const home = path('home')
    const parts = join(home, 'images', 'odd')
    mkdirSync(parts, { recursive: true })
    for (const file of ['kernel', 'initramfs', 'disk.ext4'])
      writeFileSync(join(parts, file), Buffer.alloc(4096, file))
    const description = {
      created: '',
      system: '',
      kernelRelease: '',
      commandLine: '',
      requested: [],
      packages: [],
    }
    await writeManifest(parts, { name: 'odd', ...description })
    const environment = { ...testEnvironment, UNDERSTUDY_HOME: home }
    const boot = (): Promise<Ended> => understudy(['boot', 'odd', '--ephemeral'], { directory, environment })
    assertFails(await boot(), EXIT_CODE.file, /kernel/)
    truncateSync(join(parts, 'initramfs'), 7)
    assertFails(await boot(), EXIT_CODE.file, /initramfs has 7 bytes instead of 4096/)
    writeFileSync(join(parts, 'manifest.json'), '{')
    assertFails(
      await boot(),
      EXIT_CODE.file,
      /manifest\.json is not the manifest of an image: it is not JSON/,
    )
    rmSync(home, { recursive: true })
    assertFails(await boot(), EXIT_CODE.failure, /there is no image 'odd'/)
  })

  it('of programs are refused, or run as whatever they have become', () => {
    const whole = bareElf(
      '_start: la t0, tohost; li t1, 1; sd t1, 0(t0)\n1: j 1b\n.align 3\ntohost: .dword 0',
    )
    for (let i = 0; i < 40; i++) {
      const bytes = whole.slice(0, i % 4 === 0 ? random(whole.length) : whole.length)
      for (let bits = 0; bits < 3; bits++) {
        const bit = random(bytes.length * 8 || 1)
        if (bit >> 3 < bytes.length) bytes[bit >> 3]! ^= 1 << (bit & 7)
      }
      try {
        const elf = readElf(bytes, 'odd.elf')
        const options = {
          engine: nodeEngine,
          elf,
          name: 'odd.elf',
          ramBytes: 2 * MIB,
          harts: 1,
          print: () => {},
        }
        new BareComputer(options).run(10_000n)
      } catch (error) {
        assert.ok(error instanceof UserError, String(error))
        assert.match(error.message, /^[^\n]*odd\.elf[^\n]*$/)
      }
    }
  })
})

describe('what does not fit together', { skip }, () => {
  it('is refused: a disk that another machine uses', async () => {
    const guest = new GuestProcess([name, '--disk', 'shared'], { directory })
    await new Promise((resolve) => guest.child.stdout!.once('data', resolve))
    const { status, stderr } = await inDirectory(['boot', name, '--disk', 'shared'])
    guest.child.kill('SIGTERM')
    await guest.ended
    assert.equal(status, EXIT_CODE.failure)
    assert.match(
      stderr,
      new RegExp(`^understudy: overlay shared is in use by process ${guest.child.pid}: [^\n]+\n$`),
    )
    assert.deepEqual(leftovers(directory), [])
  })

  it('is refused: a snapshot with a disk that has moved on', async () => {
    await bootAndSignal(['--disk', 'moving', '--save', 'early'])
    const load = ['boot', name, '--load', 'early', '--disk', 'moving']
    await bootAndSignal(['--disk', 'moving'])
    assertFails(await inDirectory(load), EXIT_CODE.failure, /overlay moving is of generation/)
    rmSync(join(directory, 'early.disk'), { recursive: true })
    assertFails(
      await inDirectory(['boot', name, '--load', 'early', '--ephemeral']),
      EXIT_CODE.file,
      /early\.disk/,
    )
  })

  it('is refused: a recording with another snapshot in the place of its own', async () => {
    copyFileSync(join(directory, 'snapshot.other'), join(directory, 'snapshot'))
    assertFails(
      await inDirectory(['replay', 'second']),
      EXIT_CODE.failure,
      /another one than the recording began with/,
    )
  })

  it('is refused: memory, harts and files that cannot be', async () => {
    const cases: [string[], RegExp][] = [
      [['--memory', '62M'], /RAM is 64M to 3G, a multiple of 2M/],
      [['--memory', '65M'], /multiple of 2M/],
      [['--memory', '4G'], /RAM is 64M to 3G/],
      [['--harts', '9'], /1 to 8 harts/],
      [['--disk', 'x', '--ephemeral'], /exclude each other/],
      [['--record', 'same', '--save', './same'], /is named twice/],
    ]
    for (const [options, message] of cases)
      assertFails(await inDirectory(['boot', name, ...options]), EXIT_CODE.usage, message)
    const record = ['boot', name, '--ephemeral', '--record', 'no/such/file']
    assertFails(await inDirectory(record), EXIT_CODE.file, /cannot write no\/such\/file: no such file/)
  })
})

describe('what must not be replaced', { skip }, () => {
  it('is left as it is: a device', async () => {
    symlinkSync('/dev/null', join(directory, 'null'))
    const { status, stderr } = await bootAndSignal(['--ephemeral', '--save', 'null'])
    assert.equal(status, EXIT_CODE.failure)
    assert.match(stderr, /^understudy: cannot write null: it is not a plain file: [^\n]+\n$/)
    assert.equal((await bootAndSignal(['--ephemeral', '--record', 'null'])).status, EXIT_CODE.terminated)
    assert.ok(statSync(join(directory, 'null')).isCharacterDevice())
    assert.deepEqual(leftovers(directory), [])
  })

  it('is left as it is: a directory that has the name of a disk and is none', async () => {
    mkdirSync(join(directory, 'mine.disk'))
    writeFileSync(join(directory, 'mine.disk', 'letter'), 'text')
    for (const option of ['--save', '--record']) {
      const { status, stderr } = await bootAndSignal(['--ephemeral', option, 'mine'])
      assert.equal(status, EXIT_CODE.failure)
      assert.match(
        stderr,
        /^understudy: mine\.disk is in the way, and is not the disk of a snapshot: [^\n]+\n$/,
      )
    }
    assert.equal(readFileSync(join(directory, 'mine.disk', 'letter'), 'utf8'), 'text')
    assert.deepEqual(leftovers(directory), [])
  })
})

describe('a machine that lacks something', { skip: skip || lacksMounts(directory) }, () => {
  /** Runs a shell script where `full` is a file system of `bytes`, and $understudy the command. */
  function withTmpfs(bytes: number, script: string): Ended {
    const folder = join(directory, 'full')
    mkdirSync(folder, { recursive: true })
    const whole = `mount -t tmpfs -o size=${bytes} tmpfs ${folder} && ${script}`
    const environment = { ...testEnvironment, understudy: launcher, image: name }
    const options = { cwd: directory, env: environment, encoding: 'utf8', timeout: 120_000 } as const
    return spawnSync('unshare', ['-m', 'sh', '-c', whole], options)
  }

  const BOOT = 'timeout --preserve-status 8 $understudy boot $image --memory 128M </dev/null'

  it('says that its file system is full, and keeps what was recorded', () => {
    const { stdout, stderr } = withTmpfs(
      12288,
      `${BOOT} --ephemeral --record full/recording >/dev/null; echo $?; $understudy replay full/recording; echo $?; ls -A full`,
    )
    assert.match(
      stderr,
      /^understudy: cannot write recording full\/recording: the file system is full: [^\n]+\n/m,
    )
    assert.match(stdout, /^113\nequal up to position \d+: [^\n]+\n0\nrecording\n/)
  })

  it('keeps the snapshot that it had when it cannot write a new one', () => {
    const { stdout, stderr } = withTmpfs(
      4 * MIB,
      `echo old >full/snapshot; ${BOOT} --ephemeral --save full/snapshot >/dev/null; echo $?; ls -A full; cat full/snapshot`,
    )
    assert.match(stderr, /^understudy: cannot [^\n]+the file system is full: [^\n]+\n$/)
    assert.equal(stdout, '113\nsnapshot\nold\n')
  })

  it('holds a guest whose disk is full', () => {
    const { stdout, stderr } = withTmpfs(
      40960,
      `timeout --preserve-status 30 $understudy boot $image --disk full/disk --run 'dd if=/dev/zero of=x bs=64k count=9; sync' >/dev/null; echo $?; ls -A full`,
    )
    assert.match(
      stderr,
      /^understudy: no room for the guest's disk at full\/disk: the machine waits [^\n]+\n$/,
    )
    assert.equal(stdout, '143\ndisk\n')
  })

  it('says that a replay waits for room for its disk, and goes on when there is some', () => {
    const record = `$understudy boot $image --memory 128M --ephemeral --record r --run 'head -c 3000000 /dev/urandom >x; sync'`
    const fill = 'head -c 3500000 /dev/zero >full/filler'
    const replay = 'TMPDIR=full $understudy replay r'
    const { stdout, stderr } = withTmpfs(
      4 * MIB,
      `${record}; ${fill}; (while ! grep -q room log; do sleep 0.1; done; rm full/filler) & ${replay} 2>log; echo $?; cat log >&2`,
    )
    assert.match(stdout, /^equal up to position \d+: [^\n]+\n0\n$/)
    assert.match(
      stderr,
      /^understudy: no room for the replay's disk in full: waiting [^\n]+ TMPDIR\nunderstudy: there is room again: the replay goes on\n$/,
    )
  })

  it('says which package has what it needs to build an image', () => {
    const script =
      'mount -t tmpfs tmpfs /usr/share/keyrings; $understudy image build debian --name none; echo $?'
    const { stdout, stderr } = withTmpfs(4096, script)
    assert.equal(stdout, `${EXIT_CODE.failure}\n`)
    assert.match(
      stderr,
      /^understudy: [^\n]*keyring[^\n]* is missing[^\n]*: install debian-archive-keyring\n$/,
    )
  })
})
