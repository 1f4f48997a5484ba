/** Whether a machine that exists is the one that somebody asks for. */
import { canonicalJson, type JsonObject } from '../../base/canonical_json.ts'
import { parsePortForward, portForwardText } from '../../gateway/port_forward.ts'
import { daemonAddressText, parseDaemonAddress } from './daemon_address.ts'
import type { ChosenSettings, NetworkConfig } from './host_config.ts'
import { readMachineFile } from './machine_file.ts'
import { GATEWAY_NAME, gatewayConfigSchema, type Pair, type PairFile } from './pair.ts'
import { readStoredJson } from './stored_json.ts'

/** Where the gateway is, is for the machine to choose. */
export type WantedNetwork = { readonly kind: 'gateway' } | Exclude<NetworkConfig, { kind: 'gateway' }>

/** What is asked for; whatever is left out is welcome as it is. */
export interface WantedPair {
  readonly image?: string
  readonly forwards?: readonly string[]
  readonly network?: WantedNetwork
  readonly ramBytes?: number
  readonly harts?: number
  readonly arbiter?: string
  /** Kernel parameters beyond those of the image. */
  readonly append?: string
  readonly allowLoopback?: boolean
  readonly allowFaults?: boolean
  readonly isRecorded?: boolean
  readonly translates?: boolean
  /** A snapshot to make it from: no machine that exists is that. */
  readonly firstSnapshot?: string
  readonly settings?: ChosenSettings
  /** Addresses of the hosts' daemons. */
  readonly hosts?: readonly string[]
  /** Where the gateway listens for hosts that are other computers. */
  readonly gatewayListen?: string
}

/** What differs first, in a word or two for people; undefined if nothing does. */
export function pairDifference(pair: Pair, wanted: WantedPair): string | undefined {
  const { specification } = readMachineFile(pair.machinePath).record
  const { file } = pair
  const gateway = file.gateway && readStoredJson(pair.configPath(GATEWAY_NAME), gatewayConfigSchema)
  const has: Record<keyof WantedPair, () => boolean> = {
    image: () => wanted.image === file.image,
    forwards: () => sameForwards(wanted.forwards!, gateway?.forwards ?? []),
    network: () => sameNetwork(wanted.network!, file.network),
    ramBytes: () => wanted.ramBytes === specification.ramBytes,
    harts: () => wanted.harts === specification.harts,
    arbiter: () => wanted.arbiter === file.arbiter,
    append: () => specification.bootArguments.endsWith(wanted.append!),
    allowLoopback: () => wanted.allowLoopback === (gateway?.allowLoopback ?? false),
    allowFaults: () => wanted.allowFaults === (file.allowFaults ?? false),
    isRecorded: () => wanted.isRecorded === (file.isRecorded ?? false),
    translates: () => wanted.translates === (file.translates ?? true),
    hosts: () => sameHosts(wanted.hosts!, file),
    gatewayListen: () => wanted.gatewayListen === file.gateway?.listen.host,
    firstSnapshot: () => false,
    settings: () => canonicalJson(given(wanted.settings!)) === canonicalJson(given(file.settings)),
  }
  const differs = (Object.keys(has) as (keyof WantedPair)[]).find(
    (key) => wanted[key] !== undefined && !has[key](),
  )
  return differs && NAMES[differs]
}

const NAMES: Readonly<Record<keyof WantedPair, string>> = {
  ...{
    image: 'image',
    forwards: 'published ports',
    network: 'network',
    ramBytes: 'memory',
    harts: 'harts',
  },
  ...{ arbiter: 'arbiter', append: 'kernel parameters', allowLoopback: 'access to the loopback' },
  ...{ allowFaults: 'faults that tests inject', isRecorded: 'recordings', settings: 'settings' },
  translates: 'translation of code',
  ...{ firstSnapshot: 'beginnings than this snapshot', hosts: 'hosts', gatewayListen: 'gateway address' },
}

function sameNetwork(wanted: WantedNetwork, has: NetworkConfig): boolean {
  if (wanted.kind === 'gateway') return has.kind === 'gateway'
  return canonicalJson({ ...wanted }) === canonicalJson({ ...has })
}

function sameForwards(one: readonly string[], other: readonly string[]): boolean {
  const texts = (forwards: readonly string[]): string =>
    forwards
      .map((text) => portForwardText(parsePortForward(text)))
      .sort()
      .join(' ')
  return texts(one) === texts(other)
}

function sameHosts(wanted: readonly string[], { daemons }: PairFile): boolean {
  const has = Object.values(daemons?.addresses ?? {}).map(daemonAddressText)
  const asked = wanted.map((text) => daemonAddressText(parseDaemonAddress(text)))
  return asked.sort().join(' ') === has.sort().join(' ')
}

/** Without what was not chosen. */
function given(settings: ChosenSettings): JsonObject {
  return JSON.parse(JSON.stringify(settings)) as JsonObject
}
