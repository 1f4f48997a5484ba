/**
 * A laboratory: two hosts of a machine, an arbiter, a client, each a computer of its own.
 *
 *     client 10.77.0.2 ---+                         +--- uplink-a --- host a 10.77.0.11 --- tap0: the guest, 10.77.0.15
 *                         +--- the bridge, captured |
 *     arbiter 10.77.0.3 --+                         +--- uplink-b --- host b 10.77.0.12 --- tap0: the guest, 10.77.0.15
 *
 *     host a 10.78.0.11 ------ the logging channel, a wire of its own ------ 10.78.0.12 host b
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { BaseImage } from '../../src/host/base_image.ts'
import { openCredentials } from '../../src/host/secure_credentials.ts'
import { openImage } from '../../src/image/store.ts'
import { digestsOf } from '../../src/node/boot_files.ts'
import type { HostStatus } from '../../src/node/host/control_methods.ts'
import type { HostConfig } from '../../src/node/host/host_config.ts'
import { randomMac, writeMachineFile } from '../../src/node/host/machine_file.ts'
import { writeStoredJson } from '../../src/node/host/stored_json.ts'
import { launcher } from '../guest_process.ts'
import { type SystemImage, testEnvironment } from '../system_image.ts'
import { Agent } from './agent.ts'
import { readCapture, type SeenFrame } from './capture.ts'
import { Namespaces, signalInside, startedInside } from './namespaces.ts'

export type HostName = 'a' | 'b'
export const HOSTS = ['a', 'b'] as const
export const otherHost = (host: HostName): HostName => (host === 'a' ? 'b' : 'a')

const MACHINE = 'lab'
const GUEST_ADDRESS = '10.77.0.15'
const ARBITER_ADDRESS = '10.77.0.3'
const NUMBER = { a: 11, b: 12 } as const
const PORT = 7000
const ETCD_PORT = 2379
const REDIS_PORT = 6379
const RAM_BYTES = 256 * 2 ** 20
const POLL_MS = 100
/** Far above what anything here takes on a slow machine: a hang becomes a failure. */
const WAIT_MS_MAX = 240_000
const LOG_CHARACTERS = 3000

const NETWORK = `
  ip link add br0 type bridge forward_delay 0
  ip link set br0 up
  station() {
    ip netns add $1
    ip netns exec $1 ip link set lo up
    ip link add uplink-$1 type veth peer name eth0 netns $1
    ip link set uplink-$1 master br0 up
    ip netns exec $1 ip link set eth0 up
  }
  host() {
    station $1
    ip netns exec $1 sh -ec "
      ip link add br0 type bridge forward_delay 0
      ip tuntap add dev tap0 mode tap
      ip link set eth0 master br0
      ip link set tap0 master br0 up
      ip link set br0 up
      ip address add 10.77.0.$2/24 dev br0"
  }
  station client
  ip netns exec client ip address add 10.77.0.2/24 dev eth0
  station arbiter
  ip netns exec arbiter ip address add ${ARBITER_ADDRESS}/24 dev eth0
  host a ${NUMBER.a}
  host b ${NUMBER.b}
  ip link add channel netns a type veth peer name channel netns b
  for host in a:${NUMBER.a} b:${NUMBER.b}; do
    ip netns exec \${host%:*} ip address add 10.78.0.\${host#*:}/24 dev channel
    ip netns exec \${host%:*} ip link set channel up
  done`

const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

export class Lab {
  readonly directory: string
  readonly #namespaces: Namespaces
  readonly #hosts = new Map<HostName, ChildProcess>()
  readonly #agents = new Map<string, Agent>()
  #etcd: ChildProcess | undefined

  private constructor(directory: string, namespaces: Namespaces) {
    this.directory = directory
    this.#namespaces = namespaces
  }

  /** Everything but the machine. */
  static async build(image: SystemImage): Promise<Lab> {
    const directory = mkdtempSync(join(tmpdir(), 'understudy-lab-'))
    const lab = new Lab(directory, await Namespaces.make(NETWORK))
    try {
      await lab.#describe(image)
      for (const host of HOSTS) lab.#capture(host)
      lab.startEtcd()
    } catch (error) {
      await lab.end()
      throw error
    }
    return lab
  }

  async end(): Promise<void> {
    await this.#namespaces.end()
    rmSync(this.directory, { recursive: true, force: true })
  }

  // The machine

  async start(host: HostName): Promise<void> {
    const log = openSync(join(this.directory, `${host}.log`), 'a')
    const command = [launcher, 'host', '--config', join(this.directory, `${host}.json`)]
    const child = this.#namespaces.spawn(host, command, {
      ...{ env: testEnvironment, stdio: ['ignore', log, log] },
    })
    closeSync(log)
    this.#hosts.set(host, child)
    await startedInside(child)
  }

  signal(host: HostName, signal: NodeJS.Signals): void {
    signalInside(this.#hosts.get(host)!, signal)
  }

  /** Waits until a host's process has ended; its exit status, or null after a signal. */
  async ended(host: HostName): Promise<number | null> {
    const child = this.#hosts.get(host)!
    if (child.exitCode === null && child.signalCode === null)
      await once(child, 'exit', { signal: AbortSignal.timeout(WAIT_MS_MAX) })
    return child.exitCode
  }

  isRunning(host: HostName): boolean {
    const child = this.#hosts.get(host)
    return child !== undefined && child.exitCode === null && child.signalCode === null
  }

  /** What a host's process says of itself, or null if it does not answer. */
  async status(host: HostName): Promise<HostStatus | null> {
    const parameters = [MACHINE, host, channelAddress(host), `${PORT}`, this.#secretFile]
    return (await this.#agent(host, 'status_program.ts', parameters).ask('status')) as HostStatus | null
  }

  async until<T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> {
    for (const end = performance.now() + WAIT_MS_MAX; ; ) {
      const found = await look()
      if (found !== undefined) return found
      if (performance.now() > end) assert.fail(`it does not come that ${what}${this.logs()}`)
      await setTimeout(POLL_MS)
    }
  }

  untilPrimary(host: HostName): Promise<HostStatus> {
    return this.until(`${host} is the primary`, async () => {
      const status = await this.status(host)
      return status?.role === 'primary' ? status : undefined
    })
  }

  /**
   * Waits until a host is a primary that is protected by the other one. A copy whose join was given up ends, and whatever
   * runs a host starts it again.
   */
  untilProtected(primary: HostName): Promise<HostStatus> {
    const backup = otherHost(primary)
    return this.until(`${primary} is protected`, async () => {
      if (!this.isRunning(backup)) await this.start(backup)
      const status = await this.status(primary)
      return status?.role === 'primary' && status.protection === 'protected' ? status : undefined
    })
  }

  log(host: HostName): string {
    const path = join(this.directory, `${host}.log`)
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }

  logs(): string {
    return HOSTS.map((host) => `\n--- ${host}\n${this.log(host).slice(-LOG_CHARACTERS)}`).join('')
  }

  // The client

  /** Says a word to the client, which is started by the first. */
  ask(word: string): Promise<unknown> {
    return this.#agent('client', 'client_program.ts', [GUEST_ADDRESS, `${REDIS_PORT}`]).ask(word)
  }

  /** Waits until the client has had `more` answers beyond those that it has now. */
  async untilServed(more: number): Promise<void> {
    const before = (await this.ask('operations')) as number
    await this.until(`the client has ${more} answers more`, async () => {
      return ((await this.ask('operations')) as number) >= before + more || undefined
    })
  }

  // Faults

  /** From now on nothing passes between the hosts. */
  cutChannel(): void {
    for (const host of HOSTS) this.#drop(host, 'channel', 'iifname channel', 'oifname channel')
  }

  healChannel(): void {
    for (const host of HOSTS) this.#namespaces.run(host, 'nft delete table inet channel')
  }

  /** From now on nothing passes between a host and the arbiter. */
  cutArbiter(host: HostName): void {
    const address = `10.77.0.${NUMBER[host]}`
    this.#drop('arbiter', `host-${host}`, `ip saddr ${address}`, `ip daddr ${address}`)
  }

  healArbiter(host: HostName): void {
    this.#namespaces.run('arbiter', `nft delete table inet host-${host}`)
  }

  /** The power of a host fails: its links are dead, and so is its process. */
  async powerOff(host: HostName): Promise<void> {
    this.#namespaces.run('', `ip link set uplink-${host} down`)
    this.#namespaces.run(otherHost(host), 'ip link set channel down')
    this.signal(host, 'SIGKILL')
    await this.ended(host)
  }

  /** Its links are there again; its process has to be started. */
  powerOn(host: HostName): void {
    this.#namespaces.run('', `ip link set uplink-${host} up`)
    this.#namespaces.run(otherHost(host), 'ip link set channel up')
  }

  startEtcd(): void {
    const url = `http://${ARBITER_ADDRESS}:${ETCD_PORT}`
    const command = [
      ...['etcd', '--data-dir', join(this.directory, 'etcd'), '--log-level', 'error'],
      ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ]
    this.#etcd = this.#namespaces.spawn('arbiter', command, { stdio: 'ignore' })
  }

  async killEtcd(): Promise<void> {
    signalInside(this.#etcd!, 'SIGKILL')
    await once(this.#etcd!, 'exit')
  }

  // The witness

  /** All frames of the guest's that have come into the bridge from either host so far, in the order of their times. */
  frames(): SeenFrame[] {
    const all = HOSTS.flatMap((host) => readCapture(this.#capturePath(host), host))
    return all.sort((one, other) => one.atMs - other.atMs)
  }

  #mac = ''

  #capturePath(host: HostName): string {
    return join(this.directory, `${host}.pcap`)
  }

  #capture(host: HostName): void {
    const command = [
      ...['tcpdump', '-i', `uplink-${host}`, '-Q', 'in', '-U', '--immediate-mode', '-Z', 'root'],
      ...['-w', this.#capturePath(host), 'ether', 'src', this.#mac],
    ]
    this.#namespaces.spawn('', command, { stdio: 'ignore' })
  }

  // What it is made of

  get #secretFile(): string {
    return join(this.directory, 'secret')
  }

  async #describe(image: SystemImage): Promise<void> {
    await openCredentials({ secretFile: this.#secretFile })
    const { manifest } = openImage(image.name, testEnvironment)
    const base = await BaseImage.open(image.files.disk)
    const mac = randomMac()
    this.#mac = [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
    const specification = {
      ...{ harts: 1, ramBytes: RAM_BYTES, rngSeed: new Uint8Array(32), diskSectors: base.sectors, mac },
      bootArguments: `console=ttyS0 understudy.net=${GUEST_ADDRESS}/24 ${manifest.commandLine} quiet`,
    }
    const record = { specification, image: image.name, ...digestsOf(image.files, base) }
    await base.close()
    await writeMachineFile(join(this.directory, 'machine.json'), { name: MACHINE, record })
    for (const host of HOSTS) {
      mkdirSync(join(this.directory, host), { mode: 0o700 })
      await writeStoredJson(join(this.directory, `${host}.json`), this.#config(host))
    }
  }

  #config(host: HostName): HostConfig {
    const peer = otherHost(host)
    return {
      ...{ kind: 'understudy-host', version: 1, machine: MACHINE, host, settings: {} },
      ...{ directory: join(this.directory, host), machineFile: join(this.directory, 'machine.json') },
      ...{ listen: { host: channelAddress(host), port: PORT } },
      ...{ peers: { [peer]: { host: channelAddress(peer), port: PORT } } },
      arbiter: `etcd:http://${ARBITER_ADDRESS}:${ETCD_PORT}`,
      ...{ credentials: { secretFile: this.#secretFile }, network: { kind: 'tap', interface: 'tap0' } },
      ...{ mayCreate: host === 'a' },
    }
  }

  #agent(namespace: string, name: string, parameters: readonly string[]): Agent {
    const found = this.#agents.get(namespace)
    if (found !== undefined) return found
    const command = [process.execPath, program(name), ...parameters]
    const agent = new Agent(this.#namespaces.spawn(namespace, command, { stdio: 'pipe' }))
    this.#agents.set(namespace, agent)
    return agent
  }

  #drop(namespace: string, table: string, incoming: string, outgoing: string): void {
    this.#namespaces.run(
      namespace,
      `nft -f - <<END
        table inet ${table} {
          chain incoming { type filter hook input priority 0; ${incoming} drop; }
          chain outgoing { type filter hook output priority 0; ${outgoing} drop; }
        }
END`,
    )
  }
}

const channelAddress = (host: HostName): string => `10.78.0.${NUMBER[host]}`
