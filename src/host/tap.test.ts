/** TAP interfaces, in network namespaces of the tests' own. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { isInterfaceName } from './tap_device.ts'

const directory = mkdtempSync(join(tmpdir(), 'understudy-tap-'))
after(() => rmSync(directory, { recursive: true }))
const file = join(directory, 'program.mjs')
const skip = lacksTaps()

/** Why none can be made here, or false. Root under CI must be able to. */
function lacksTaps(): string | false {
  const reason = findLack()
  if (reason === undefined) return false
  if (process.env['CI'] === 'true' && process.getuid?.() === 0) throw new Error(reason)
  console.error(`NOT TESTED: ${reason}`)
  return reason
}

function findLack(): string | undefined {
  if (process.platform !== 'linux') return 'TAP interfaces are there on Linux only'
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/net/tun may not be opened'
  }
  const { status, stderr } = inNamespace('ip tuntap add dev t mode tap')
  return status === 0 ? undefined : `no TAP can be made in a network namespace: ${stderr.trim()}`
}

function inNamespace(script: string): { readonly status: number | null; stdout: string; stderr: string } {
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user']
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`
  const env = { ...process.env, PATH: path, node: process.execPath }
  const options = { env, encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' } as const
  return spawnSync('unshare', [...user, '--net', '--kill-child', 'sh', '-ec', script], options)
}

const prelude = `
  import { setTimeout } from 'node:timers/promises'
  import { execSync } from 'node:child_process'
  const { Tap } = await import(${JSON.stringify(new URL('./tap.ts', import.meta.url).href)})
  const frames = []
  let gone = 0
  const tap = new Tap('tap0', { onFrame: (frame) => frames.push(frame), onGone: () => gone++ })
  const problem = (name) => {
    try { new Tap(name, {}).open() } catch (error) { return error.name + ': ' + error.message }
  }
  const until = async (condition) => {
    for (const end = performance.now() + 60_000; !condition(); await setTimeout(5))
      if (performance.now() > end) throw new Error('it does not come: ' + condition)
  }
  const udp = (bytes) => execSync(\`head -c \${bytes} /dev/zero | bash -c 'cat >/dev/udp/10.9.0.2/9'\`)
  const isUdp = (frame) => frame[12] === 8 && frame[13] === 0 && frame[23] === 17
`

/** Runs a program where there is an interface tap0; returns what it prints. */
function withTap(program: string): string {
  const script = `
    ip tuntap add dev tap0 mode tap
    ip link set tap0 up
    ip address add 10.9.0.1/24 dev tap0
    ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev tap0
    exec "$node" ${file}`
  writeFileSync(file, prelude + program)
  const { status, stdout, stderr } = inNamespace(script)
  assert.equal(status, 0, stderr)
  assert.equal(stderr, '')
  return stdout
}

test('names of interfaces are what the kernel takes literally', () => {
  for (const name of ['tap0', 'a', '123456789012345', 'br-0.7']) assert.ok(isInterfaceName(name), name)
  for (const name of ['', '.', '..', 'a b', 'a/b', 'tap%d', '1234567890123456', 'ü', 'a:1', 'a\0'])
    assert.ok(!isInterfaceName(name), name)
})

test('frames pass both ways, whole and in order, and the process can end while the thread waits', {
  skip,
}, () => {
  const output = withTap(`
    tap.open()
    for (const bytes of [1, 100, 1400]) udp(bytes)
    await until(() => frames.filter(isUdp).length === 3)
    console.log(frames.filter(isUdp).map((frame) => frame.length).join())
    const arp = new Uint8Array(60)
    arp.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 9, 0, 2])
    arp.set([10, 9, 0, 1], 38)
    console.log(tap.write(arp))
    await until(() => frames.some((frame) => frame[12] === 8 && frame[13] === 6 && frame[21] === 2))
    process.exit()`)
  assert.equal(output, '43,142,1442\ntrue\n')
})

test('what came before the interface was opened is lost, and what comes while it is held waits', {
  skip,
}, () => {
  const output = withTap(`
    udp(1)
    tap.open()
    tap.hold(true)
    await setTimeout(200)
    for (let i = 0; i < 3; i++) udp(2)
    await setTimeout(300)
    console.log(frames.length)
    tap.hold(false)
    await until(() => frames.filter(isUdp).length === 3)
    console.log(frames.filter(isUdp).map((frame) => frame.length).join())
    await tap.close()`)
  assert.equal(output, '0\n44,44,44\n')
})

test('an interface that is down loses what is written', { skip }, () => {
  const output = withTap(`
    tap.open()
    execSync('ip link set tap0 down')
    console.log(tap.write(new Uint8Array(60)))
    execSync('ip link set tap0 up')
    console.log(tap.write(new Uint8Array(60)))
    await tap.close()
    console.log(tap.write(new Uint8Array(60)))`)
  assert.equal(output, 'false\ntrue\nfalse\n')
})

test('an interface that is removed is told, and one of its name can be opened again', { skip }, () => {
  const output = withTap(`
    tap.open()
    execSync('ip tuntap add dev tap1 mode tap; ip link delete tap0')
    await until(() => gone === 1)
    console.log(tap.write(new Uint8Array(60)))
    execSync('ip link set tap1 name tap0; ip link set tap0 up')
    tap.open()
    console.log(tap.write(new Uint8Array(60)))
    await tap.close()`)
  assert.equal(output, 'false\ntrue\n')
})

test('an interface that cannot be had is refused in one line', { skip }, () => {
  const output = withTap(`
    tap.open()
    console.log(problem('tap0'))
    console.log(problem('tap9'))
    console.log(problem('lo'))
    console.log(problem('../tap0'))
    await tap.close()
    console.log(problem('tap0'))
    process.exit()`)
  assert.deepEqual(output.split('\n'), [
    'TapBusyError: interface tap0 is in use by another process',
    'UserError: there is no interface tap9: make it by ip tuntap add dev tap9 mode tap',
    'UserError: interface lo is no plain TAP: make one by ip tuntap add dev NAME mode tap, without multi_queue',
    "UserError: '../tap0' cannot be the name of a network interface",
    'undefined',
    '',
  ])
})
