/**
 * What one process of a machine at one host is started with: `understudy host --config FILE`. `understudy run` writes
 * these files for both hosts of a pair.
 */
import { z } from 'zod'
import { DEFAULT_SETTINGS, type Settings } from '../../replication/settings.ts'

export const port = z.int().min(1).max(65_535)
/** How processes of a machine, and hosts, are called. */
export const processName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'a name has letters, digits, . _ and -')

export const addressSchema = z.strictObject({ host: z.string().min(1), port })
export type Address = z.infer<typeof addressSchema>

const positive = z.number().positive()

/** The settings of the protocol that may be chosen; those left out are the default. */
export const settingsSchema = z.strictObject({
  ack: z
    .enum(['received', 'executed'])
    .describe('Whether an output waits until the backup has the log, or until it has executed it.')
    .optional(),
  flushMs: positive.describe('Records wait this long for others to travel with.').optional(),
  heartbeatMs: positive.describe('How often a copy says that it lives.').optional(),
  suspicionMs: positive.describe('A copy that is silent for this long is taken for dead.').optional(),
  stallMs: positive.describe('A copy that gets nowhere for this long is taken for dead.').optional(),
  lagTargetMs: positive
    .describe('How far behind the backup should be at most. The primary is slowed from a third of it on.')
    .optional(),
  lagLimitMs: positive.describe('A backup whose lag stays above this is dropped.').optional(),
  slowBackupMs: positive
    .describe('A backup whose lag stays above the limit for this long is dropped.')
    .optional(),
  boundBytes: positive.describe('Bytes that may wait for the backup before inputs are held.').optional(),
  diskLimitMs: positive.describe('A disk of which an operation takes longer has failed.').optional(),
  digestMs: positive.describe('How often the copies are compared.').optional(),
  onDivergence: z
    .enum(['primary', 'stop'])
    .describe('Who goes on if the copies differ and neither is convicted.')
    .optional(),
})
export type ChosenSettings = z.infer<typeof settingsSchema>

export const networkSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  z.strictObject({ kind: z.literal('gateway'), host: z.string().min(1), port, name: processName }),
  /** Any peer that speaks QEMU's framing: a path of a unix socket, or host:port. */
  z.strictObject({ kind: z.literal('stream'), address: z.string().min(1) }),
  z.strictObject({ kind: z.literal('tap'), interface: z.string().min(1).max(15) }),
])
export type NetworkConfig = z.infer<typeof networkSchema>

const credentialsSchema = z.union([
  z.strictObject({ secretFile: z.string().min(1) }),
  z.strictObject({
    caFile: z.string().min(1),
    certificateFile: z.string().min(1),
    keyFile: z.string().min(1),
  }),
])

export const hostConfigSchema = z.strictObject({
  kind: z.literal('understudy-host'),
  version: z.literal(1),
  machine: processName,
  /** This host's name. */
  host: processName,
  /** Where this host keeps its machines' disks. */
  directory: z.string().min(1),
  /** What the machine is (machine_file.ts). */
  machineFile: z.string().min(1),
  /** Where others reach this process. */
  listen: addressSchema,
  /** Where others reach the thread of its heartbeats; any port that is free by default. */
  heartbeatPort: port.optional(),
  /** The other hosts that may have a copy, by name. */
  peers: z.record(processName, addressSchema),
  arbiter: z.string().min(1),
  credentials: credentialsSchema,
  network: networkSchema,
  /** Whether this host may create the machine if the arbiter has never heard of it. */
  mayCreate: z.boolean(),
  settings: settingsSchema,
  /** Where metrics are served, on the loopback; 0 for nowhere. */
  metricsPort: z.int().min(0).max(65_535).optional(),
  /** A snapshot from which the machine is made, if this host creates it. */
  firstSnapshot: z.string().min(1).optional(),
  /** Where the log of each life that begins at this host is kept, for `understudy replay`. */
  recordingDirectory: z.string().min(1).optional(),
  /** Whether hot code is translated, which changes nothing but speed; it is if nothing is said. */
  translates: z.boolean().optional(),
  /** Lets tests inject faults over the control connection. */
  allowFaults: z.boolean().optional(),
})
export type HostConfig = z.infer<typeof hostConfigSchema>

/** All settings, with the defaults where nothing was chosen. */
export function settingsOf(chosen: ChosenSettings): Settings {
  const given = Object.fromEntries(Object.entries(chosen).filter(([, value]) => value !== undefined))
  return { ...DEFAULT_SETTINGS, ...given }
}
