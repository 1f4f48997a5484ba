/** What `understudy host --listen` does. */
import { existsSync, mkdirSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import { UserError } from '../base/errors.ts'
import { daemonAddressText, parseDaemonAddress } from '../node/host/daemon_address.ts'
import { isHostName } from '../node/host/daemon_protocol.ts'
import { HostDaemon } from '../node/host/host_daemon.ts'
import { EXIT_CODE } from './exit_codes.ts'
import type { HostCommandOptions } from './host.ts'
import { describeStoredImage } from './image_files.ts'
import { hostDirectory, hostSecretFile, logLine, programStart } from './machines.ts'
import { writeOutput } from './standard_streams.ts'
import { StopSignals } from './stop_signals.ts'

/** Runs until a signal. Throws a UserError if it cannot start. */
export async function runDaemon(listen: string, { name, secret }: HostCommandOptions): Promise<void> {
  const say = (text: string): void => writeOutput(logLine(text))
  const signals = new StopSignals()
  const host = name ?? computerName()
  if (!isHostName(host))
    throw new UserError(
      `a host cannot be called '${host}': a name has letters, digits, . _ and -; give a --name`,
    )
  const secretFile = secret === undefined ? hostSecretFile() : resolve(secret)
  const isNew = !existsSync(secretFile)
  if (secret === undefined) mkdirSync(dirname(secretFile), { recursive: true })
  const daemon = await HostDaemon.start({
    ...{ name: host, listen: parseDaemonAddress(listen, 0), secretFile, directory: hostDirectory(host) },
    ...{ program: programStart(), describeImage: describeStoredImage, onNotice: say },
  })
  say(`host ${host} listens at ${daemonAddressText(daemon.address)}`)
  say(
    `${isNew ? 'a new secret' : 'the secret'} is in ${secretFile}: the other hosts and the operator's computer need a copy`,
  )
  await new Promise<void>((stop) => signals.onStop(stop))
  say('ends, and its processes with it')
  await daemon.close()
  signals.release()
  process.exit(EXIT_CODE.success)
}

/** The computer's own name, made fit. */
export function computerName(name = hostname()): string {
  const fit = name.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  return isHostName(fit.slice(0, 63)) ? fit.slice(0, 63) : 'host'
}
