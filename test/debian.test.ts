/**
 * Debian as a whole: software of every kind in one guest, what survives a reboot, several harts, little and much
 * memory, and what an idle machine costs. Few boots, many checks in each.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { EXIT_CODE } from '../src/cli/exit_codes.ts'
import { BaseImage, SECTOR_BYTES } from '../src/host/base_image.ts'
import { openOverlay } from '../src/host/overlay_disk.ts'
import { GuestProcess, lacks, leftovers, understudy } from './guest_process.ts'
import { systemImage, testEnvironment } from './system_image.ts'

const MIB = 2 ** 20
/** What the process may hold beside the guest RAM that was touched: it takes some 135 MiB, 100 without translation. */
const RESIDENT_BESIDE_MAX = 150 * MIB
/** So often it is looked at for ten seconds, until once it is idle. */
const TRIES = 4
/** Of a core, for an idle guest: it takes 1.1 to 2.0, 1.5 without translation, and 2.4 beside a busy host. */
const IDLE_PERCENT_MAX = 3.5

const image = await systemImage()
const skip = 'missing' in image ? image.missing : false
const { name, disk: baseDisk } = 'missing' in image ? { name: '', disk: '' } : image.files
const directory = mkdtempSync(join(tmpdir(), 'understudy-debian-'))
const disk = join(directory, 'disk')
after(() => rmSync(directory, { recursive: true }))

/** Writes what is on an overlay over its base out as one raw disk. */
async function exportDisk(overlay: string, path: string): Promise<void> {
  copyFileSync(baseDisk, path)
  const base = await BaseImage.open(baseDisk)
  const opened = await openOverlay(overlay, base)
  const file = openSync(path, 'r+')
  for (const { sector, sectors } of opened.extents()) {
    writeSync(file, await opened.read(sector, sectors), 0, sectors * SECTOR_BYTES, sector * SECTOR_BYTES)
  }
  await opened.close()
  await base.close()
}

describe('a guest with a disk of its own', { skip }, () => {
  let guest: GuestProcess
  before(async () => {
    guest = new GuestProcess([name, '--disk', disk, '--append', 'quiet'])
    await guest.console.shell()
  })
  after(() => guest.child.kill())

  it('serves redis', async () => {
    const { console: shell } = guest
    await shell.succeed('until redis-cli ping; do sleep 0.2; done')
    assert.equal(
      await shell.succeed(
        'redis-cli --raw set count 41; redis-cli --raw incr count; redis-cli --raw get count',
      ),
      'OK\n42\n42\n',
    )
    const report = await shell.succeed('redis-benchmark -n 300 -c 4 -t set,get --csv')
    assert.deepEqual(report.match(/^"(SET|GET)","\d+\.\d+"/gm)?.length, 2, report)
  })

  it('runs a database, an interpreter, a compressor and a cipher', async () => {
    const { console: shell } = guest
    const query =
      'create table t as with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) ' +
      'select i, i * i % 97 as r from n; create index x on t(r); ' +
      'select count(*), sum(i), count(distinct r) from t where r < 50; pragma integrity_check;'
    const rows = await shell.succeed(`sqlite3 /root/test.db '${query}'`)
    const residues = Array.from({ length: 20000 }, (_, i) => (i + 1) ** 2 % 97)
    const chosen = residues.flatMap((residue, i) => (residue < 50 ? [i + 1] : []))
    const distinct = new Set(residues.filter((residue) => residue < 50)).size
    const sum = chosen.reduce((total, i) => total + i, 0)
    assert.equal(rows, `${chosen.length}|${sum}|${distinct}\nok\n`)
    const program =
      'import math, hashlib; print(math.factorial(60), math.sqrt(2), sum(i * 0.1 for i in range(5000)))'
    let tenths = 0
    for (let i = 0; i < 5000; i++) tenths += i * 0.1
    const factorial = Array.from({ length: 60 }, (_, i) => BigInt(i + 1)).reduce((a, b) => a * b)
    assert.equal(
      await shell.succeed(`python3 -c '${program}'`),
      `${factorial} ${Math.SQRT2} ${tenths.toFixed(1)}\n`,
    )
    assert.match(await shell.succeed('/usr/lib/7zip/7za b 1 -mmt1 -md18 -mtime=0'), /Tot:( +\d+){3}/)
    assert.match(
      await shell.succeed('openssl speed -seconds 1 -bytes 1024 sha256 2>&1'),
      /^sha256 +\d+\.\d+k/m,
    )
  })

  it('passes the checks that stress-ng makes of processors, memory, processes and locks', async () => {
    const stressors = '--cpu 1 --cpu-ops 20 --vm 1 --vm-bytes 16M --vm-ops 20 --fork 1 --fork-ops 30'
    const report = await guest.console.succeed(
      `stress-ng --verify ${stressors} --futex 1 --futex-ops 200 --timeout 60 2>&1`,
    )
    assert.match(report, /passed: 4: .*cpu \(1\).*vm \(1\).*fork \(1\).*futex \(1\)/)
    assert.match(report, /failed: 0/)
  })

  it('takes everything that is sent to its console, however late it reads', async () => {
    const text = randomBytes(150_000).toString('base64').replace(/.{76}/g, '$&\n')
    const sum = createHash('sha256').update(text).digest('hex')
    // The text follows the command at once, and the shell's next line the text.
    const found = await guest.console.succeed(`sleep 1; head -c ${text.length} | sha256sum\n${text}`)
    assert.equal(found, `${sum}  -\n`)
  })

  it('restarts, and finds its files and its data again', async () => {
    const { console: shell } = guest
    await shell.succeed('dd if=/dev/urandom of=/root/kept bs=4k count=500 2>/dev/null')
    const sum = await shell.succeed('sha256sum /root/kept')
    await shell.succeed('redis-cli set kept yes')
    shell.type('reboot\n')
    await shell.shell()
    assert.equal(await shell.succeed('sha256sum /root/kept'), sum)
    assert.ok(Number(await shell.succeed('cut -d. -f1 /proc/uptime')) < 300)
    await shell.succeed('until redis-cli ping | grep PONG; do sleep 0.2; done')
    assert.equal(await shell.succeed('redis-cli --raw get kept'), 'yes\n')
    // A file system that was not unmounted cleanly says so.
    assert.doesNotMatch(await shell.succeed('dmesg'), /EXT4-fs.*(recover|error|warning)/i)
    await shell.succeed(`echo '${sum.trim()}' >/root/sum`)
    shell.type('poweroff\n')
    const { status, stderr } = await guest.ended
    assert.deepEqual({ status, stderr }, { status: 0, stderr: '' })
    assert.deepEqual(leftovers(directory), [])
  })

  it('leaves a clean file system', { skip: lacks('e2fsck') }, async () => {
    const raw = join(directory, 'raw')
    await exportDisk(disk, raw)
    const check = spawnSync('/usr/sbin/e2fsck', ['-fn', raw], { encoding: 'utf8' })
    assert.equal(check.status, 0, check.stdout)
    rmSync(raw)
  })

  it('is found again by another process, with two harts that both work', async () => {
    const command =
      'sha256sum -c sum || exit 1; w() { taskset -c $1 awk "BEGIN{while(i<200000)i++}"; }; ' +
      'w 0 & w 1 & wait; grep -c ^processor /proc/cpuinfo; grep "^cpu[01] " /proc/stat; ' +
      'grep timer /proc/interrupts; exit 42'
    const boot = ['boot', name, '--disk', disk, '--harts', '2', '--run', command]
    const { status, stdout, stderr } = await understudy(boot)
    assert.equal(status, 42, stdout + stderr)
    assert.match(stdout, /^\/root\/kept: OK\n2\n/)
    const userTicks = [...stdout.matchAll(/^cpu[01] (\d+)/gm)].map((match) => Number(match[1]))
    assert.equal(userTicks.length, 2)
    assert.ok(Math.min(...userTicks) > 0, stdout)
    const timers = /: +(\d+) +(\d+) .*timer/.exec(stdout)
    assert.ok(timers !== null && Math.min(Number(timers[1]), Number(timers[2])) > 10, stdout)
  })
})

describe('a guest without a disk of its own', { skip }, () => {
  it('boots in 128 MiB', async () => {
    const boot = ['boot', name, '--ephemeral', '--memory', '128M', '--run', 'free -m | grep Mem; exit 7']
    const { status, stdout, stderr } = await understudy(boot)
    assert.equal(status, 7, stderr)
    assert.match(stdout, /^Mem: +\d\d /)
  })

  it('says so when its kernel gives up, as for lack of memory', async () => {
    const boot = ['boot', name, '--ephemeral', '--memory', '64M', '--run', 'true']
    const { status, stdout, stderr } = await understudy(boot)
    assert.deepEqual([status, stdout], [EXIT_CODE.failure, ''])
    assert.match(stderr, /^understudy: the guest failed before the command did; .*Kernel panic[^\n]+\n$/)
  })

  it('boots in 3 GiB, costs next to nothing while it is idle, and only the memory that it touches', {
    skip: process.platform !== 'linux',
  }, async (context) => {
    // The first start of all, which compiles everything.
    const environment = { ...testEnvironment, NODE_COMPILE_CACHE: join(directory, 'compiled') }
    const boot = [name, '--ephemeral', '--memory', '3G', '--append', 'quiet']
    const guest = new GuestProcess(boot, { environment })
    try {
      await guest.console.shell()
      assert.ok(Number(await guest.console.succeed("awk '/MemTotal/{print $2}' /proc/meminfo")) > 2_900_000)
      // A server that looks at its clock ten times a second is not idle, nor is the host before it has kept what was translated.
      await guest.console.succeed('pkill redis-server; sleep 10')
      // Now and then something of an idle guest is translated all the same, by a thread that ends some seconds later.
      let [percent, resident] = [100, guest.residentBytes(3072 * MIB)]
      const isIdle = (): boolean => percent < IDLE_PERCENT_MAX && resident.other < RESIDENT_BESIDE_MAX
      for (let tries = 0; !isIdle() && tries < TRIES; tries++) {
        const before = guest.cpuSeconds
        await setTimeout(10_000)
        percent = (guest.cpuSeconds - before) * 10
        resident = guest.residentBytes(3072 * MIB)
      }
      context.diagnostic(
        `idle: ${percent.toFixed(1)} % of a core; resident: ${Math.round(resident.guest / MIB)} MiB of the ` +
          `guest, ${Math.round(resident.other / MIB)} MiB beside it`,
      )
      assert.ok(percent < IDLE_PERCENT_MAX, `an idle guest takes ${percent} % of a core`)
      assert.ok(
        resident.guest > 64 * MIB && resident.guest < 512 * MIB,
        `${resident.guest} bytes of guest RAM`,
      )
      assert.ok(resident.other < RESIDENT_BESIDE_MAX, `${resident.other} bytes beside the guest's RAM`)
      guest.console.type('poweroff\n')
      assert.equal((await guest.ended).status, 0)
    } finally {
      guest.child.kill()
    }
  })
})
