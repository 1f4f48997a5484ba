/**
 * A protected machine on this computer: a directory with everything that its processes are started with.
 *
 *     HOME/machines/NAME/
 *         pair.json            what the user asked for, and the ports
 *         machine.json         what the machine is (machine_file.ts)
 *         secret               what its processes know each other by
 *         a.json, b.json       how its hosts are started (host_config.ts)
 *         gateway.json         how its gateway is started
 *         arbiter/             the arbiter, unless another was named
 *         a/NAME, b/NAME       each host's disk
 *         *.log                what the processes say
 *
 * Of one whose hosts are other computers (pair_placement.ts) there are only the first three, and the gateway's.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { assert } from '../../base/assert.ts'
import { UserError } from '../../base/errors.ts'
import { parsePortForward } from '../../gateway/port_forward.ts'
import { checkMachineName } from '../../host/decision_record.ts'
import { fileError } from '../../host/file_error.ts'
import { openArbiter } from '../../host/open_arbiter.ts'
import { checkTap } from '../../host/tap_device.ts'
import { checkSettings } from '../../replication/settings.ts'
import type { ImageFiles } from '../boot_files.ts'
import { describeImage, type ImageDescription } from '../image_description.ts'
import { type MachineRecord, requireSameFiles } from '../machine_record.ts'
import { readHeader } from '../session.ts'
import {
  addressSchema,
  type ChosenSettings,
  type HostConfig,
  type NetworkConfig,
  networkSchema,
  settingsOf,
  settingsSchema,
} from './host_config.ts'
import { freePorts } from './loopback_ports.ts'
import { randomMac, writeMachineFile } from './machine_file.ts'
import { readStoredJson, writeStoredJson } from './stored_json.ts'

/** The names of the two hosts of a pair on one computer, and of its gateway. */
const HOST_NAMES = ['a', 'b'] as const
export const GATEWAY_NAME = 'gateway'
/** How command lines are known to the processes of a pair. */
export const OPERATOR_NAME = 'operator'

export const MACHINE_FILE = 'machine.json'

/** What the guest is on its network, and who else is there. */
export const GUEST_NETWORK = 'understudy.net=10.0.2.15/24,10.0.2.2,10.0.2.3'

const pairSchema = z.strictObject({
  kind: z.literal('understudy-pair'),
  version: z.literal(1),
  name: z.string(),
  image: z.string(),
  /** Where each host's process listens; the first may create the machine. */
  hosts: z.record(z.string(), addressSchema),
  /** Who has the hosts' processes run, if they are on other computers: the daemon of each host. */
  daemons: z
    .strictObject({ secretFile: z.string(), addresses: z.record(z.string(), addressSchema) })
    .optional(),
  /** Absent without a gateway. */
  gateway: z.strictObject({ listen: addressSchema, forwards: z.array(z.string()) }).optional(),
  network: networkSchema,
  arbiter: z.string(),
  settings: settingsSchema,
  /** Where each host serves its metrics; absent where it does not. */
  metricsPorts: z.record(z.string(), z.int()).optional(),
  allowFaults: z.boolean().optional(),
  isRecorded: z.boolean().optional(),
  translates: z.boolean().optional(),
})
export type PairFile = z.infer<typeof pairSchema>

export const gatewayConfigSchema = z.strictObject({
  kind: z.literal('understudy-gateway'),
  version: z.literal(1),
  machine: z.string(),
  listen: addressSchema,
  secretFile: z.string(),
  forwards: z.array(z.string()),
  /** Whether the guest reaches this computer's own loopback, as its gateway's address. */
  allowLoopback: z.boolean(),
})
export type GatewayConfig = z.infer<typeof gatewayConfigSchema>

/** What `understudy run` is asked for, wherever the machine runs. */
export interface MachineOptions {
  readonly name: string
  readonly ramBytes: number
  readonly harts: number
  readonly forwards: readonly string[]
  /** Without it the gateway. */
  readonly network?: Exclude<NetworkConfig, { kind: 'gateway' }>
  readonly allowLoopback?: boolean
  readonly arbiter?: string
  readonly settings: ChosenSettings
  readonly allowFaults?: boolean
  /** Whether the log of each life is kept, in `recordings/HOST`. */
  readonly isRecorded?: boolean
  /** Whether hot code is translated; it is if nothing is said. */
  readonly translates?: boolean
}

/** What it is asked for on this computer. */
export interface PairOptions extends MachineOptions {
  readonly image: ImageFiles
  /** Kernel parameters: those that the image needs, and what the user adds. */
  readonly commandLine: string
  /** A snapshot that the machine is made from: it is what that was, in a new life. */
  readonly firstSnapshot?: string
}

export class Pair {
  readonly directory: string
  #file: PairFile

  private constructor(directory: string, file: PairFile) {
    this.directory = directory
    this.#file = file
  }

  /** The names of all machines below `root`. */
  static names(root: string): string[] {
    if (!existsSync(root)) return []
    return readdirSync(root)
      .filter((name) => existsSync(join(root, name, 'pair.json')))
      .sort()
  }

  /** Whether there is a machine of this name. */
  static exists(root: string, name: string): boolean {
    return existsSync(join(root, name, 'pair.json'))
  }

  /** Throws a UserError if there is none of this name. */
  static open(root: string, name: string): Pair {
    if (!Pair.exists(root, name)) {
      const names = Pair.names(root)
      const known = names.length === 0 ? 'there is none yet' : `there is ${names.join(', ')}`
      throw new UserError(`no machine ${name}: ${known}; start one with understudy run`)
    }
    const directory = join(root, name)
    return new Pair(directory, readStoredJson(join(directory, 'pair.json'), pairSchema))
  }

  /** Makes a new one on this computer; nothing is started. Throws a UserError if that cannot be. */
  static async create(root: string, options: PairOptions): Promise<Pair> {
    const { name, image } = options
    await checkOptions(options)
    if (options.network?.kind === 'tap') checkTap(options.network.interface)
    const directory = join(root, name)
    makeDirectory(directory)
    for (const host of HOST_NAMES) makeDirectory(join(directory, host))
    await writeMachine(join(directory, MACHINE_FILE), options)
    const arbiter = options.arbiter ?? `file:${join(directory, 'arbiter')}`
    if (options.arbiter === undefined) makeDirectory(join(directory, 'arbiter'))
    const [a, b, link, metricsOfA, metricsOfB] = await freePorts(5)
    const gateway = options.network === undefined ? loopback(link!) : undefined
    const pair = new Pair(directory, {
      ...{ kind: 'understudy-pair', version: 1, name, image: image.name },
      hosts: { a: loopback(a!), b: loopback(b!) },
      ...(gateway && { gateway: { listen: gateway, forwards: [...options.forwards] } }),
      network: options.network ?? { kind: 'gateway', ...loopback(link!), name: GATEWAY_NAME },
      ...{ arbiter, settings: options.settings, metricsPorts: { a: metricsOfA!, b: metricsOfB! } },
      ...choicesOf(options),
    })
    for (const host of HOST_NAMES)
      await writeStoredJson(pair.configPath(host), pair.#hostConfig(host, options))
    await pair.#store(options.allowLoopback)
    return pair
  }

  /** Writes down one whose hosts are other computers, which have their parts of it. */
  static async store(root: string, file: PairFile, allowLoopback = false): Promise<Pair> {
    const pair = new Pair(join(root, file.name), file)
    await pair.#store(allowLoopback)
    return pair
  }

  /** The machine is there when its last file is. */
  async #store(allowLoopback = false): Promise<void> {
    if (this.file.gateway !== undefined)
      await writeStoredJson(this.configPath(GATEWAY_NAME), this.#gatewayConfig(allowLoopback))
    await writeStoredJson(join(this.directory, 'pair.json'), this.file)
  }

  get file(): PairFile {
    return this.#file
  }

  /** Has the gateway listen at other ports from its next start on. */
  async changeForwards(forwards: readonly string[]): Promise<void> {
    assert(this.file.gateway !== undefined, 'no gateway to change')
    const path = this.configPath(GATEWAY_NAME)
    const config = readStoredJson(path, gatewayConfigSchema)
    await writeStoredJson(path, { ...config, forwards: [...forwards] })
    this.#file = { ...this.file, gateway: { ...this.file.gateway, forwards: [...forwards] } }
    await writeStoredJson(join(this.directory, 'pair.json'), this.file)
  }

  /** Makes it a machine that never was: its disks, its decisions and its logs are gone. It must not run. */
  async removeState(): Promise<void> {
    const logs = this.processes.map((process) => this.logPath(process))
    const parts = [...HOST_NAMES, 'arbiter', 'recordings'].map((part) => join(this.directory, part))
    for (const path of [...parts, ...logs]) await rm(path, { recursive: true, force: true })
    // Last, so that whoever is cut short does it again.
    await rm(join(this.directory, 'pair.json'))
  }

  get name(): string {
    return this.file.name
  }

  get secretFile(): string {
    return join(this.directory, 'secret')
  }

  /** Where each host's metrics are, by the host's name. */
  get metricsUrls(): Record<string, string> {
    const ports = Object.entries(this.file.metricsPorts ?? {})
    return Object.fromEntries(ports.map(([host, port]) => [host, `http://127.0.0.1:${port}/metrics`]))
  }

  /** Of the file that says what the machine is. */
  get machinePath(): string {
    return join(this.directory, MACHINE_FILE)
  }

  configPath(process: string): string {
    return join(this.directory, `${process}.json`)
  }

  logPath(process: string): string {
    return join(this.directory, `${process}.log`)
  }

  /** Where people find what a host's process says. */
  logPlace(host: string): string {
    return this.file.daemons === undefined
      ? this.logPath(host)
      : `host.log of machine ${this.name} at ${host}`
  }

  get hostNames(): string[] {
    return Object.keys(this.file.hosts)
  }

  /** The names of all processes that a pair needs on this computer. */
  get processes(): string[] {
    const hosts = this.file.daemons === undefined ? this.hostNames : []
    return [...(this.file.gateway === undefined ? [] : [GATEWAY_NAME]), ...hosts]
  }

  #hostConfig(
    host: (typeof HOST_NAMES)[number],
    { allowFaults = false, isRecorded = false, translates = true, firstSnapshot }: PairOptions,
  ): HostConfig {
    const { name, hosts, arbiter, network, settings, metricsPorts } = this.file
    const peers = Object.fromEntries(Object.entries(hosts).filter(([peer]) => peer !== host))
    return {
      ...{ kind: 'understudy-host', version: 1, machine: name, host },
      ...{ directory: join(this.directory, host), machineFile: this.machinePath },
      ...{ listen: hosts[host]!, peers, arbiter, credentials: { secretFile: this.secretFile } },
      ...{ network, mayCreate: host === HOST_NAMES[0], settings, metricsPort: metricsPorts?.[host] ?? 0 },
      ...(allowFaults ? { allowFaults } : {}),
      ...(translates ? {} : { translates }),
      ...(firstSnapshot === undefined || host !== HOST_NAMES[0] ? {} : { firstSnapshot }),
      ...(isRecorded ? { recordingDirectory: join(this.directory, 'recordings', host) } : {}),
    }
  }

  #gatewayConfig(allowLoopback: boolean): GatewayConfig {
    const { listen, forwards } = this.file.gateway!
    return {
      ...{ kind: 'understudy-gateway', version: 1, machine: this.name },
      ...{ listen, secretFile: this.secretFile, forwards, allowLoopback },
    }
  }
}

/** What its processes would refuse is refused here, where somebody reads it. Throws a UserError. */
export async function checkOptions(options: MachineOptions): Promise<void> {
  checkMachineName(options.name)
  for (const text of options.forwards) parsePortForward(text)
  checkSettings(settingsOf(options.settings))
  await checkArbiter(options.arbiter, options.name)
}

/** What is chosen for both hosts, as a pair's file has it. */
export function choicesOf({ allowFaults, isRecorded, translates = true }: MachineOptions): Partial<PairFile> {
  return {
    ...(allowFaults ? { allowFaults } : {}),
    ...(isRecorded ? { isRecorded } : {}),
    ...(translates ? {} : { translates }),
  }
}

async function writeMachine(path: string, options: PairOptions): Promise<void> {
  const { name, image, commandLine, firstSnapshot } = options
  const description = await describeImage(image, commandLine)
  if (firstSnapshot === undefined) {
    const record = newMachine(options, image.name, description)
    return writeMachineFile(path, { name, record })
  }
  const { machine } = await readHeader(firstSnapshot)
  requireSameFiles(machine, description, `snapshot ${firstSnapshot}`)
  await writeMachineFile(path, { name, record: { ...machine, image: image.name } })
}

/** A machine that no other is like: its seed and its address are drawn here. */
export function newMachine(
  { harts, ramBytes }: Pick<MachineOptions, 'harts' | 'ramBytes'>,
  image: string,
  { commandLine, diskSectors, kernel, initramfs, disk }: ImageDescription,
): MachineRecord {
  const bootArguments = `console=ttyS0,115200n8r earlycon=sbi ${GUEST_NETWORK} ${commandLine}`
  const rngSeed = Uint8Array.from(randomBytes(32))
  const specification = { harts, ramBytes, bootArguments, rngSeed, diskSectors, mac: randomMac() }
  return { specification, image, kernel, initramfs, disk }
}

async function checkArbiter(text: string | undefined, machine: string): Promise<void> {
  if (text === undefined) return
  const { arbiter } = await openArbiter(text, machine)
  arbiter.close()
}

const loopback = (port: number): { host: string; port: number } => ({ host: '127.0.0.1', port })

export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw fileError(error, 'make', path)
  }
}
