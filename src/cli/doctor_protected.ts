/** What protected machines need of this computer. */
import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname } from 'node:path'
import { UserError } from '../base/errors.ts'
import { runCommand } from '../image/command.ts'
import { freePorts } from '../node/host/loopback_ports.ts'
import type { Finding } from './doctor_finding.ts'
import { machinesDirectory } from './machines.ts'

const TUN = '/dev/net/tun'
/** As many as a pair takes (src/node/host/pair.ts), and its clients' ports. */
const PORTS = 8
/** Each copy executes on a thread of its own. */
const CORES = 2

type Facts = Pick<Finding, 'name' | 'ok' | 'found' | 'remedy'>

export async function protectedFindings(): Promise<Finding[]> {
  const facts = [await portsFacts(), directoryFacts(machinesDirectory())]
  const optional = [coresFacts(), tunFacts(TUN), await etcdFacts()]
  const finding = ({ remedy, ...rest }: Facts): Finding => ({
    ...{ neededFor: 'protected machines', ...rest, remedy: rest.ok ? '' : remedy },
  })
  return [...facts.map(finding), ...optional.map((one): Finding => ({ ...finding(one), optional: true }))]
}

async function portsFacts(): Promise<Facts> {
  const name = 'loopback ports'
  const remedy = 'let programs listen at 127.0.0.1 (ip link set lo up), or raise ulimit -n'
  try {
    await freePorts(PORTS)
    return { name, ok: true, found: `${PORTS} ports of 127.0.0.1 can be had`, remedy }
  } catch (error) {
    return { name, ok: false, found: (error as Error).message, remedy }
  }
}

/** Whether machines can be kept below `directory`, which may not be there so far. */
export function directoryFacts(directory: string): Facts {
  const name = 'state directory'
  const remedy = 'make it writable, or name another place in UNDERSTUDY_HOME'
  let present = directory
  while (!existsSync(present)) present = dirname(present)
  try {
    accessSync(present, constants.W_OK | constants.X_OK)
    return { name, ok: true, found: `${directory} can be written`, remedy }
  } catch {
    return { name, ok: false, found: `${present} cannot be written`, remedy }
  }
}

function coresFacts(): Facts {
  const cores = availableParallelism()
  const found = `${cores} for two copies`
  return {
    name: 'processor cores',
    ok: cores >= CORES,
    found,
    remedy: 'both copies share one core: it works, slowly',
  }
}

/** A guest on a network of this computer, without the gateway. */
export function tunFacts(path: string): Facts {
  const name = 'TAP'
  const remedy =
    'only for guests on a TAP: modprobe tun, and let this user open the device; the gateway needs neither'
  try {
    closeSync(openSync(path, constants.O_RDWR))
    return { name, ok: true, found: `${path} can be opened`, remedy }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return { name, ok: false, found: `${path} cannot be opened (${code})`, remedy }
  }
}

async function etcdFacts(): Promise<Facts> {
  const name = 'etcd'
  const remedy = 'only for --arbiter etcd:URL, and it may be anywhere: apt-get install etcd-server'
  try {
    const { stdout } = await runCommand('etcd', ['--version'])
    const version = /\d+\.[\w.]*\w/.exec(stdout.toString())?.[0] ?? 'of an unknown version'
    return { name, ok: true, found: version, remedy }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { name, ok: false, found: 'no etcd on this computer', remedy }
  }
}
