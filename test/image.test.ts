/**
 * The building of images as a whole: real packages from this machine's mirror, and QEMU as the computer that the image
 * is started on. Needs the network and apt; what else is missing here is skipped.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { buildDebianImage } from '../src/image/debian.ts'
import { parseRunOutput, runParameter } from '../src/image/run.ts'
import { imagesDirectory, openImage, type StoredImage, verifyImage } from '../src/image/store.ts'
import { lacks, launcher } from './guest_process.ts'

const home = mkdtempSync(join(tmpdir(), 'image-test-'))
const environment = { ...process.env, UNDERSTUDY_HOME: home, SOURCE_DATE_EPOCH: '1780000000' }

/** Starts the image on QEMU with `parameters` for its kernel; what the virtio console said. */
function bootOnQemu(image: StoredImage, parameters: string): Buffer {
  const output = join(home, 'console')
  const { kernel, initramfs, disk } = image.paths
  const commandLine = `console=ttyS0 ${image.manifest.commandLine} ${parameters}`
  const result = spawnSync(
    'qemu-system-riscv64',
    [
      ...['-M', 'virt', '-m', '512', '-nographic', '-no-reboot', '-kernel', kernel, '-initrd', initramfs],
      ...['-append', commandLine, '-drive', `file=${disk},format=raw,if=none,id=disk`],
      ...['-device', 'virtio-blk-device,drive=disk', '-netdev', 'user,id=net'],
      ...['-device', 'virtio-net-device,netdev=net', '-device', 'virtio-rng-device'],
      ...['-device', 'virtio-serial-device', '-chardev', `file,id=console,path=${output}`],
      ...['-device', 'virtconsole,chardev=console'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 },
  )
  assert.equal(result.status, 0, `QEMU: ${result.stderr} ${result.stdout?.toString().slice(-2000)}`)
  return readFileSync(output)
}

function assertCleanFileSystem(disk: string): void {
  const check = spawnSync('/usr/sbin/e2fsck', ['-fn', disk])
  assert.equal(check.status, 0, `${check.stdout}`)
}

describe('an image built from Debian packages', { skip: lacks('apt-get') }, () => {
  let image: StoredImage
  before(async () => {
    image = await buildDebianImage({ name: 'probe', packages: ['redis-server'], size: '512M', environment })
  })
  after(() => rmSync(home, { recursive: true }))

  test('says what it is made of', async () => {
    assert.equal(image.manifest.created, '2026-05-28T20:26:40.000Z')
    const names = image.manifest.packages.map((one) => one.name)
    assert.ok(['bash', 'libc6', 'redis-server'].every((name) => names.includes(name)))
    assert.equal(image.manifest.files.disk.bytes, 512 * 2 ** 20)
    assert.ok(image.allocatedBytes < 300 * 2 ** 20, 'the disk is sparse')
    await verifyImage(image)
  })

  test('has a sound file system with the owners of the guest', { skip: lacks('e2fsck') }, () => {
    assertCleanFileSystem(image.paths.disk)
    const listing = (path: string) =>
      spawnSync('/usr/sbin/debugfs', ['-R', `stat ${path}`, image.paths.disk]).stdout.toString()
    assert.match(listing('/etc/shadow'), /Mode: +0640[\s\S]*User: +0 +Group: +42 /)
    assert.match(listing('/var/lib/redis'), /Mode: +0750[\s\S]*User: +110 +Group: +110 /)
    assert.match(listing('/usr/bin/su'), /Mode: +04755[\s\S]*User: +0 +Group: +0 /)
  })

  test('runs a command beside its services, and ends clean', { skip: lacks('qemu-system-riscv64') }, () => {
    const command = 'printf "\\t1\\r\\n"; redis-cli ping; id -un; cat /proc/sys/kernel/hostname; exit 7'
    const { output, status } = parseRunOutput(bootOnQemu(image, runParameter(command)))
    assert.equal(Buffer.from(output).toString(), '\t1\r\nPONG\nroot\nprobe\n')
    assert.equal(status, 7)
    assertCleanFileSystem(image.paths.disk)
  })

  test('says so when the command took the machine down itself', {
    skip: lacks('qemu-system-riscv64'),
  }, () => {
    const { output, status } = parseRunOutput(
      bootOnQemu(image, runParameter('echo bye; poweroff; echo never')),
    )
    assert.deepEqual([Buffer.from(output).toString(), status], ['bye\n', undefined])
    assertCleanFileSystem(image.paths.disk)
  })

  test('stays as it is when the build of its successor fails', async () => {
    const failing: [Parameters<typeof buildDebianImage>[0], RegExp][] = [
      [
        { packages: ['no-such-package', 'bash'] },
        /^Debian trixie has no package no-such-package for riscv64$/,
      ],
      [
        { size: '64M', packages: ['python3-minimal', 'redis-server'] },
        /do not fit on the disk: give a larger --size$/,
      ],
    ]
    for (const [options, message] of failing) {
      await assert.rejects(buildDebianImage({ name: 'probe', environment, ...options }), {
        name: 'UserError',
        message,
      })
    }
    assert.deepEqual(readdirSync(imagesDirectory(environment)), ['probe'])
    assert.equal(openImage('probe', environment).manifest.files.disk.sha256, image.manifest.files.disk.sha256)
  })

  test('is not begun half by a build that is told to end', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const build = ['image', 'build', 'debian', '--name', 'never', '--packages', 'redis-server']
      const child = spawn(launcher, build, { env: environment, stdio: ['ignore', 'ignore', 'pipe'] })
      const said = child.stderr.toArray()
      const isBuilding = (): boolean =>
        readdirSync(imagesDirectory(environment)).some((name) => name.startsWith('.building-'))
      while (!isBuilding() && child.exitCode === null) await setTimeout(20)
      await setTimeout(500)
      child.kill(signal)
      const [, endedBy] = await once(child, 'close')
      assert.deepEqual([endedBy, Buffer.concat(await said).toString()], [signal, ''])
      assert.deepEqual(readdirSync(imagesDirectory(environment)), ['probe'])
    }
  })

  test('is the same to the byte when it is built again on the same machine', async () => {
    const again = await buildDebianImage({
      name: 'probe',
      packages: ['redis-server'],
      size: '512M',
      environment,
    })
    assert.deepEqual(again.manifest, image.manifest)
  })

  test('cannot come from a mirror that does not answer', async () => {
    const away = { ...environment, XDG_CACHE_HOME: join(home, 'cache') }
    const mirror = 'http://127.0.0.1:9/debian'
    await assert.rejects(buildDebianImage({ mirror, environment: away }), {
      name: 'UserError',
      message: /^cannot fetch from the mirror http:\/\/127\.0\.0\.1:9\/debian: .*refused/,
    })
  })
})
