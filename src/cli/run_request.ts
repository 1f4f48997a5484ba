/** What a user asks of `understudy run`: the command line, over the file if there is one. */
import { resolve } from 'node:path'
import type { ChosenSettings } from '../node/host/host_config.ts'
import type { WantedNetwork, WantedPair } from '../node/host/pair_difference.ts'
import { type RunFile, readRunFile } from '../node/host/run_file.ts'
import { RAM_BYTES_MIN } from '../node/machine_limits.ts'
import { parseMemory } from './arguments.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError } from './failure.ts'
import type { RunCommandOptions } from './run.ts'

const IMAGE_DEFAULT = 'debian'

export interface RunRequest {
  readonly name: string
  readonly image: string
  readonly build: boolean
  readonly detach: boolean
  /** What the daemons of other hosts know each other by; without it the usual file. */
  readonly secretFile?: string
  /** Only what was asked for. */
  readonly wanted: WantedPair
}

/** Throws a UserError if the file or an option cannot be. */
export function runRequest(image: string | undefined, options: RunCommandOptions): RunRequest {
  const file = options.file === undefined ? {} : readRunFile(options.file)
  const wantedImage = image ?? file.image
  const { build, detach, ...rest } = { ...file, ...defined(options) }
  const name = rest.name ?? wantedImage ?? IMAGE_DEFAULT
  const forwards = options.publish.length > 0 ? options.publish : file.publish
  const ramBytes = options.memory ?? memoryOf(file, options.file)
  const settings = settingsOf(file, options)
  const hosts = options.hosts ?? file.hosts
  const secret = options.secret ?? file.secret
  return {
    ...(secret === undefined ? {} : { secretFile: resolve(secret) }),
    ...{ name, image: wantedImage ?? IMAGE_DEFAULT, build: build === true, detach: detach === true },
    wanted: defined({
      ...{ image: wantedImage, forwards, ramBytes, settings, network: networkOf(rest.net) },
      ...{ harts: rest.harts, arbiter: rest.arbiter, append: rest.append },
      ...{ allowLoopback: rest.allowLoopback, allowFaults: rest.allowFaults },
      ...{ isRecorded: rest.record, translates: options.translate ? file.translate : false },
      ...{ firstSnapshot: firstSnapshotOf(options) },
      ...{ hosts, gatewayListen: rest.gatewayListen },
    }),
  }
}

/** Without the fields that are undefined. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

function memoryOf({ memory }: RunFile, path: string | undefined): number | undefined {
  if (memory === undefined) return undefined
  try {
    return parseMemory(memory, RAM_BYTES_MIN)
  } catch (error) {
    throw new CommandError(`${path}: memory: ${(error as Error).message}`, EXIT_CODE.file)
  }
}

/** A snapshot brings its machine with it. */
function firstSnapshotOf({ load, memory, harts, append }: RunCommandOptions): string | undefined {
  if (load === undefined) return undefined
  for (const [option, value] of Object.entries({ memory, harts, append })) {
    if (value === undefined) continue
    throw new CommandError(`--${option} is in the snapshot: leave it out with --load`, EXIT_CODE.usage)
  }
  return resolve(load)
}

function settingsOf({ settings }: RunFile, { ack }: RunCommandOptions): ChosenSettings | undefined {
  if (settings === undefined && ack === undefined) return undefined
  return { ...settings, ...(ack === undefined ? {} : { ack }) }
}

function networkOf(net: string | undefined): WantedNetwork | undefined {
  if (net === undefined) return undefined
  if (net === 'gateway' || net === 'none') return { kind: net }
  const [, address] = /^stream:(.+)$/.exec(net) ?? []
  if (address !== undefined) return { kind: 'stream', address }
  const [, name] = /^tap:(.{1,15})$/.exec(net) ?? []
  if (name !== undefined) return { kind: 'tap', interface: name }
  throw new CommandError(
    `--net ${net}: write gateway, stream:ADDRESS, tap:INTERFACE or none`,
    EXIT_CODE.usage,
  )
}
