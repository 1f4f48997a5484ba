/**
 * Makes a machine whose hosts are other computers: asks the daemons of both what they have, refuses what cannot be while
 * nothing has been made, and has each make its part. Nothing is started.
 *
 *     connect -> describe -> compare -> prove the arbiter -> create at both -> write it down here
 *                                                               └── fails: what was made is removed again
 */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../base/errors.ts'
import { openSecret } from '../../host/secure_secret.ts'
import type { ImageDescription } from '../image_description.ts'
import { daemonAddressText, isEveryAddress, isLoopback } from './daemon_address.ts'
import { DaemonClient, daemonCredentials } from './daemon_client.ts'
import type { CreateRequest, HostDescription } from './daemon_protocol.ts'
import type { Address, NetworkConfig } from './host_config.ts'
import { freePorts } from './loopback_ports.ts'
import { encodeMachineFile, readMachineFile, writeMachineFile } from './machine_file.ts'
import {
  checkOptions,
  choicesOf,
  GATEWAY_NAME,
  MACHINE_FILE,
  type MachineOptions,
  makeDirectory,
  newMachine,
  Pair,
  type PairFile,
} from './pair.ts'
import { softwareBuild } from './software_build.ts'

export interface PlacementOptions extends MachineOptions {
  /** The image, which both hosts must have. */
  readonly image: string
  /** Kernel parameters beyond those of the image. */
  readonly append: string
  readonly arbiter: string
  /** Where the daemons listen; the first one's host creates the machine. */
  readonly daemons: readonly [Address, Address]
  /** What the daemons know each other by. */
  readonly secretFile: string
  /** Where the gateway listens for the hosts; without it, at the address from which they were reached. */
  readonly gatewayListen?: string
}

/** A host as its daemon describes it. */
interface Candidate {
  readonly client: DaemonClient
  readonly daemon: Address
  readonly description: HostDescription
  /** Where its process of the machine will be reached. */
  readonly address: Address
}
type Candidates = readonly [Candidate, Candidate]

/** Throws a UserError of one line that names the host and the reason. */
export async function placePair(root: string, options: PlacementOptions): Promise<Pair> {
  await checkOptions(options)
  const clients: DaemonClient[] = []
  try {
    const candidates = await findCandidates(options, clients)
    const image = commonImage(options.image, candidates)
    for (const candidate of candidates) requireFit(options.name, candidate)
    await proveArbiter(options, candidates)
    return await make(root, options, candidates, image)
  } finally {
    for (const client of clients) client.close()
  }
}

async function findCandidates(options: PlacementOptions, clients: DaemonClient[]): Promise<Candidates> {
  const { name: machine, image, secretFile, daemons } = options
  const credentials = await daemonCredentials(secretFile)
  const [a, b] = daemons
  if (isLoopback(a.host) !== isLoopback(b.host)) {
    const [near, far] = isLoopback(a.host) ? [a, b] : [b, a]
    throw new UserError(
      `host ${daemonAddressText(far)} cannot reach ${daemonAddressText(near)}: have that one listen at an address of its network`,
    )
  }
  const found: Candidate[] = []
  for (const daemon of daemons) {
    const client = await DaemonClient.connect(daemon, credentials)
    clients.push(client)
    const same = found.find((other) => other.client.name === client.name)
    if (same !== undefined)
      throw new UserError(
        `${daemonAddressText(same.daemon)} and ${daemonAddressText(daemon)} are both host ${client.name}: ` +
          'two copies on one host protect from nothing; give each host a --name of its own',
      )
    const avoidPorts = found.flatMap(({ description }) => [description.port, description.heartbeatPort])
    const description = await client.describe({ machine, image, avoidPorts })
    const { listenHost, port } = description
    const host = isEveryAddress(listenHost) ? daemon.host : listenHost
    found.push({ client, daemon, description, address: { host, port } })
  }
  return found as unknown as Candidates
}

function requireFit(machine: string, { client, description, address, daemon }: Candidate): void {
  const { build, isTaken } = description
  const ours = softwareBuild()
  const refuse = (reason: string): never => {
    throw new UserError(`host ${client.name}: ${reason}`)
  }
  if (build !== ours) refuse(`another build of Understudy (${build}, here ${ours}): install the same on all`)
  if (isTaken) refuse(`there is a machine ${machine} already: give another --name`)
  // Its daemon may have been reached over something else, such as a tunnel.
  if (isLoopback(address.host) && !isLoopback(daemon.host))
    refuse(`its daemon listens at ${address.host}, where the other host cannot reach it`)
}

/** The image as both hosts have it. */
function commonImage(name: string, candidates: Candidates): ImageDescription {
  const images = candidates.map(({ client, description }) => {
    if ('problem' in description.image)
      throw new UserError(
        `host ${client.name}: ${description.image.problem}; copy the directory images/${name} from a computer that has it, or build it there`,
      )
    return description.image
  })
  const [a, b] = images as [ImageDescription, ImageDescription]
  for (const part of ['kernel', 'initramfs', 'disk'] as const) {
    if (a[part] === b[part]) continue
    const digests = `${a[part].slice(0, 12)} and ${b[part].slice(0, 12)}`
    throw new UserError(
      `hosts ${candidates.map(({ client }) => client.name).join(' and ')} have different images ${name} ` +
        `(${part} ${digests}): copy the directory images/${name} from one to the other`,
    )
  }
  return a
}

/** What one host writes the other must find, both ways. */
async function proveArbiter({ name, arbiter }: PlacementOptions, candidates: Candidates): Promise<void> {
  for (const [index, { client }] of candidates.entries()) {
    const other = candidates[1 - index]!.client
    const { nonce, hasDecisions } = await client.prove(name, arbiter)
    if (hasDecisions)
      throw new UserError(
        `arbiter ${arbiter} has decided about a machine ${name} already: give another --name, or another arbiter`,
      )
    if (await other.findNonce({ machine: name, arbiter, host: client.name, nonce })) continue
    throw new UserError(
      `arbiter ${arbiter} is not shared: host ${other.name} does not find there what host ${client.name} has written; ` +
        'name a directory on storage that both see, or the URLs of one etcd cluster',
    )
  }
}

async function make(
  root: string,
  options: PlacementOptions,
  candidates: Candidates,
  image: ImageDescription,
): Promise<Pair> {
  const { name, append } = options
  const directory = join(root, name)
  const isOurs = !existsSync(directory)
  const made: DaemonClient[] = []
  try {
    makeDirectory(directory)
    const commandLine = [image.commandLine, append].filter((text) => text !== '').join(' ')
    const record = newMachine(options, options.image, { ...image, commandLine })
    await writeMachineFile(join(directory, MACHINE_FILE), { name, record })
    const secret = Buffer.from(await openSecret(join(directory, 'secret'))).toString('hex')
    const file = await fileOf(options, candidates)
    for (const candidate of candidates) {
      made.push(candidate.client)
      await candidate.client.create(requestOf(candidate, file, secret, directory))
    }
    return await Pair.store(root, file, options.allowLoopback)
  } catch (error) {
    // Whoever cannot be asked any more lets the next one of this name take the place.
    await Promise.all(made.map((client) => client.remove(name).catch(() => undefined)))
    if (isOurs) await rm(directory, { recursive: true, force: true })
    throw error
  }
}

async function fileOf(options: PlacementOptions, candidates: Candidates): Promise<PairFile> {
  const { name, image, arbiter, settings, secretFile, forwards } = options
  const byName = <Value>(value: (candidate: Candidate) => Value): Record<string, Value> =>
    Object.fromEntries(candidates.map((candidate) => [candidate.client.name, value(candidate)]))
  const listen = options.network === undefined ? await gatewayAddress(options, candidates) : undefined
  return {
    ...{ kind: 'understudy-pair', version: 1, name, image },
    hosts: byName(({ address }) => address),
    daemons: { secretFile, addresses: byName(({ daemon }) => daemon) },
    ...(listen && { gateway: { listen, forwards: [...forwards] } }),
    network: options.network ?? gatewayNetwork(listen!, candidates),
    ...{ arbiter, settings, metricsPorts: byName(({ description }) => description.metricsPort) },
    ...choicesOf(options),
  }
}

async function gatewayAddress({ gatewayListen }: PlacementOptions, candidates: Candidates): Promise<Address> {
  const host = gatewayListen ?? localAddress(candidates)
  const [port] = await freePorts(1, host).catch((error: unknown) => {
    throw new UserError(`the gateway cannot listen at ${host}: ${(error as Error).message}`)
  })
  return { host, port: port! }
}

/** How the hosts reach it. Throws a UserError if one of them cannot. */
function gatewayNetwork({ host: listen, port }: Address, candidates: Candidates): NetworkConfig {
  const host = isEveryAddress(listen) ? localAddress(candidates) : listen
  const far = candidates.find(({ address }) => !isLoopback(address.host))
  if (isLoopback(host) && far !== undefined)
    throw new UserError(
      `host ${far.client.name} cannot reach the gateway at ${host}: give an address of this computer's network with --gateway-listen`,
    )
  return { kind: 'gateway', host, port, name: GATEWAY_NAME }
}

/** How this computer is reached from the hosts; one of them may be this computer itself. */
function localAddress(candidates: Candidates): string {
  const addresses = candidates.map(({ client }) => client.localAddress)
  return addresses.find((address) => !isLoopback(address)) ?? addresses[0]!
}

function requestOf(
  { client, description }: Candidate,
  file: PairFile,
  secret: string,
  directory: string,
): CreateRequest {
  const { name: machine, hosts, arbiter, network, settings } = file
  const { allowFaults = false, isRecorded = false, translates = true } = file
  const { port, heartbeatPort, metricsPort } = description
  const peers = Object.fromEntries(Object.entries(hosts).filter(([name]) => name !== client.name))
  const definition = encodeMachineFile(readMachineFile(join(directory, MACHINE_FILE)))
  return {
    ...{ machine, port, heartbeatPort, metricsPort, peers, arbiter, network, settings },
    ...{ allowFaults, isRecorded, translates, secret, definition },
    mayCreate: client.name === Object.keys(hosts)[0],
  }
}
