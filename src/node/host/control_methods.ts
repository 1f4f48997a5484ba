/** What can be asked of a host's process over its control connection. */
import { z } from 'zod'
import type { JsonObject, JsonValue } from '../../base/canonical_json.ts'
import { UserError } from '../../base/errors.ts'
import { PORT } from '../../board/computer.ts'
import { type ControlMethod, type ControlSession, controlMethod } from '../../host/control_server.ts'
import { DISK_FAULTS } from '../../host/disk_faults.ts'
import type { OperatorCommand } from '../../replication/ports.ts'
import { Primary } from '../../replication/primary.ts'
import type { MachineRecord } from '../machine_record.ts'
import type { MachineProcess } from '../replica/machine_process.ts'
import { saveState } from '../replica/saved_state.ts'
import type { HostConfig } from './host_config.ts'
import { checkAgainst } from './stored_json.ts'

export interface ControlledHost {
  readonly process: MachineProcess
  readonly config: HostConfig
  readonly record: MachineRecord
}

/** What a host says about its copy. */
export interface HostStatus {
  readonly machine: string
  readonly host: string
  readonly pid: number
  readonly role: 'starting' | 'joining' | 'backup' | 'primary'
  readonly protection: 'protected' | 'not protected' | 'stopped' | 'halted'
  readonly reason: string | null
  /** What there is to say about the reason, for people. */
  readonly detail: string | null
  /** Why the other hosts have no channel to this one, or this one none to them, by their names. */
  readonly refusals: Readonly<Record<string, string>>
  /** Of the configuration, if this is the primary. */
  readonly epoch: number | null
  readonly life: number | null
  readonly position: string
  /** How far behind the other copy is, if there is one and this is the primary. */
  readonly lagMs: number | null
  readonly logBytes: number
  readonly logBytesPerSecond: number
  readonly outputDelayMs: { readonly p50: number; readonly p99: number }
  /** For how long the machine stood still for the last state that a joining copy got. */
  readonly joinStopMs: number | null
}

export function hostStatus({ process: machine, config }: ControlledHost): HostStatus {
  const { member, measurements, replica } = machine
  const protection = member.protection()
  const primary = member.role instanceof Primary ? member.role : undefined
  return {
    ...{ machine: config.machine, host: config.host, pid: process.pid },
    ...{ role: member.role.name, protection: protection.state },
    reason: 'reason' in protection ? protection.reason : null,
    detail: ('detail' in protection ? protection.detail : undefined) ?? null,
    refusals: machine.refusals,
    epoch: primary?.configuration.epoch ?? null,
    life: primary?.configuration.life ?? null,
    position: `${replica.position}`,
    lagMs: primary?.follower?.lagMs ?? null,
    ...{ logBytes: measurements.logBytes, logBytesPerSecond: measurements.logBytesPerSecond() },
    outputDelayMs: measurements.outputDelayMs(),
    joinStopMs: replica.snapshotStopMs ?? null,
  }
}

const nothing = z.strictObject({})
const flip = z.strictObject({ isWritten: z.boolean(), holding: z.string().max(256).optional() })

export function controlMethods(host: ControlledHost): Record<string, ControlMethod> {
  const method = <S extends z.ZodType>(
    schema: S,
    run: (parameters: z.infer<S>, session: ControlSession) => Promise<JsonValue> | JsonValue,
  ): ControlMethod =>
    controlMethod(
      (parameters: JsonObject) => checkAgainst(schema, parameters, 'parameters'),
      async (parameters, session) => run(parameters, session),
    )
  const operate = (command: OperatorCommand): ControlMethod =>
    method(nothing, () => {
      host.process.operate(command)
      return {}
    })
  const { replica } = host.process
  return {
    status: method(nothing, () => ({ ...hostStatus(host) })),
    failover: operate('failOver'),
    stop: operate('stop'),
    force: operate('force'),
    snapshot: method(z.strictObject({ path: z.string().min(1) }), async ({ path }) => {
      const { role } = host.process.member
      if (!(role instanceof Primary)) throw new UserError('this copy is not the primary')
      const position = await saveState(replica, host.record, role.configuration.life, path)
      return { position: `${position}` }
    }),
    console: method(nothing, (_, session) => attachConsole(host, session)),
    ...(host.config.allowFaults === true ? faultMethods(host) : {}),
    inspect: method(nothing, async () => {
      const { position, digest } = await replica.inspect()
      return { position: `${position}`, digest: digest.toString(16) }
    }),
  }

  function faultMethods({ process: machine }: ControlledHost): Record<string, ControlMethod> {
    return {
      flipBit: method(flip, ({ isWritten, holding = '' }) => {
        machine.replica.send({ kind: 'flipBit', isWritten, holding })
        return {}
      }),
      // The primary's next digest at once: RAM is read again at the pace of the digests.
      digest: method(nothing, async () => {
        machine.replica.send({ kind: 'append', record: { kind: 'digest', isUrgent: true } })
        await machine.replica.inspect()
        return {}
      }),
      diskFault: method(z.strictObject({ fault: z.enum(DISK_FAULTS) }), ({ fault }) => {
        machine.replica.injectDiskFault(fault)
        return {}
      }),
    }
  }
}

/** From now on the peer gets what leaves the consoles, and what it sends is typed. */
function attachConsole({ process: machine }: ControlledHost, session: ControlSession): JsonValue {
  if (machine.member.role.name !== 'primary')
    throw new UserError('this copy is not the primary: its console shows nothing')
  const stop = machine.console.listen(({ life, port, ordinal, bytes }) =>
    session.event('console', {
      ...{ life, port, ordinal: `${ordinal}`, bytes: Buffer.from(bytes).toString('base64') },
    }),
  )
  session.onClose(stop)
  session.onBytes((_, bytes) => machine.replica.send({ kind: 'input', port: PORT.uart, bytes }))
  return {}
}
