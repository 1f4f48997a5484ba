/** What `understudy run --hosts` asks for. */
import { parseDaemonAddress } from '../node/host/daemon_address.ts'
import type { PlacementOptions } from '../node/host/pair_placement.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError } from './failure.ts'
import { hostSecretFile } from './machines.ts'
import { RAM_BYTES_DEFAULT } from './run.ts'
import type { RunRequest } from './run_request.ts'

/** Throws a CommandError if what was asked for cannot go together. */
export function placementOf(request: RunRequest, hosts: readonly string[]): PlacementOptions {
  const { name, image, wanted, secretFile = hostSecretFile() } = request
  const { forwards = [], network, arbiter, append = '', settings = {}, gatewayListen } = wanted
  if (hosts.length !== 2) throw usage(`--hosts names two hosts, not ${hosts.length}: write A,B`)
  if (wanted.firstSnapshot !== undefined) throw usage('--load does not go with --hosts so far')
  if (request.build) throw usage('--build builds here: with --hosts, build the image at one host and copy it')
  if (network !== undefined && network.kind !== 'gateway' && gatewayListen !== undefined)
    throw usage(`--gateway-listen does not go with --net ${network.kind}`)
  return {
    ...{ name, image, append, secretFile, forwards, settings, arbiter: arbiterOf(arbiter) },
    ...{ ramBytes: wanted.ramBytes ?? RAM_BYTES_DEFAULT, harts: wanted.harts ?? 1 },
    daemons: [parseDaemonAddress(hosts[0]!), parseDaemonAddress(hosts[1]!)],
    ...(network === undefined || network.kind === 'gateway' ? {} : { network }),
    ...(gatewayListen === undefined ? {} : { gatewayListen }),
    ...{ allowLoopback: wanted.allowLoopback === true, allowFaults: wanted.allowFaults === true },
    ...{ isRecorded: wanted.isRecorded === true, translates: wanted.translates !== false },
  }
}

function arbiterOf(text: string | undefined): string {
  if (text === undefined)
    throw usage(
      '--hosts needs --arbiter: a directory of this computer is not seen by the hosts; ' +
        'write file:DIR on storage that both see, or etcd:URL[,URL...]',
    )
  const [, directory] = /^file:(.*)$/.exec(text) ?? []
  if (directory === undefined || directory.startsWith('/')) return text
  throw usage(`--arbiter ${text}: name the directory from / on, as both hosts see it`)
}

const usage = (message: string): CommandError => new CommandError(message, EXIT_CODE.usage)
