/**
 * What a host's daemon can be asked for over its control connection, and what it answers. Both sides check: a request
 * decides what is written to a disk, and an answer may come from a program of another version.
 */
import { z } from 'zod'
import type { JsonObject } from '../../base/canonical_json.ts'
import { addressSchema, networkSchema, port, processName, settingsSchema } from './host_config.ts'

/**
 * How a daemon is called by TLS. Whoever dials one knows its address, not yet the name of its host; that comes with the
 * acceptance, and later calls compare it.
 */
export const DAEMON_NAME = 'host-daemon'
/** Raised with every change to the requests. */
export const DAEMON_TERMS = { daemon: '2' } as const
export const DAEMON_PORT = 7830

/** Names that other processes of a machine have. */
const RESERVED = [DAEMON_NAME, 'gateway', 'operator']

/** Whether a host can be called so. */
export function isHostName(text: string): boolean {
  return processName.safeParse(text).success && !RESERVED.includes(text)
}

const digest = z.string().regex(/^[0-9a-f]{64}$/)
const kernelParameters = z.string().max(2048)

const imageSchema = z.strictObject({
  ...{ kernel: digest, initramfs: digest, disk: digest },
  diskSectors: z.int().min(1),
  /** Kernel parameters that the image needs. */
  commandLine: kernelParameters,
})

export const describeSchema = z.strictObject({
  machine: processName,
  image: processName,
  /** Ports that another process will have by the time that they are used. */
  avoidPorts: z.array(port).max(64),
})

export const descriptionSchema = z.strictObject({
  name: processName,
  /** Of the software (software_build.ts). */
  build: z.string().max(64),
  /** Where its processes listen; an address that stands for all is no address for others to dial. */
  listenHost: z.string().min(1).max(255),
  /** Free ports, for the machine's process, for its heartbeats, and for its metrics on the loopback. */
  ...{ port, heartbeatPort: port, metricsPort: port },
  /** Whether a machine of this name has run there. */
  isTaken: z.boolean(),
  image: z.union([imageSchema, z.strictObject({ problem: z.string().max(4096) })]),
})
export type HostDescription = z.infer<typeof descriptionSchema>

const arbiter = z.string().min(1).max(4096)

export const proveSchema = z.strictObject({ machine: processName, arbiter })
/** A nonce for the other host to find. */
export const proofSchema = z.strictObject({ nonce: z.string().max(64), hasDecisions: z.boolean() })

export const findNonceSchema = z.strictObject({
  ...{ machine: processName, arbiter, host: processName },
  nonce: z.string().max(64),
})
export const nonceFoundSchema = z.strictObject({ isFound: z.boolean() })

export const createSchema = z.strictObject({
  machine: processName,
  ...{ port, heartbeatPort: port, metricsPort: port },
  peers: z.record(processName, addressSchema),
  ...{ arbiter, network: networkSchema, mayCreate: z.boolean(), settings: settingsSchema },
  ...{ allowFaults: z.boolean(), isRecorded: z.boolean(), translates: z.boolean() },
  /** What the machine's processes know each other by, in hexadecimal. */
  secret: digest,
  /** What the machine is, as in machine_file.ts. */
  definition: z.record(z.string(), z.json()),
})
export type CreateRequest = Omit<z.infer<typeof createSchema>, 'definition'> & {
  readonly definition: JsonObject
}

export const startSchema = z.strictObject({
  machine: processName,
  /** Whether a machine that was stopped starts again. */
  mayRestart: z.boolean(),
})
export const nameSchema = z.strictObject({ machine: processName })

export const machineStateSchema = z.strictObject({
  machine: processName,
  /** `idle`: not to run; `waiting`: its process has ended and is started again soon; `ended`: it was stopped in order. */
  state: z.enum(['idle', 'running', 'waiting', 'ended']),
  /** Of its process, if that is known. */
  pid: z.int().nullable(),
})
export type MachineState = z.infer<typeof machineStateSchema>
