/** `understudy run`: a protected machine. */
import type { Command } from 'commander'
import { RAM_BYTES_MIN } from '../node/machine_limits.ts'
import { formatSize, parseHarts, parseMemory } from './arguments.ts'
import { EXIT_CODE } from './exit_codes.ts'

export const RAM_BYTES_DEFAULT = 512 * 2 ** 20

const HELP = `
Two host processes on this computer run the image in lockstep: one is the primary, the other its backup. When either is
killed, the machine goes on, and a new backup is made. Clients reach the guest through a gateway, a process of its own,
at the ports given with -p; it listens on 127.0.0.1 unless told otherwise.

In the foreground it shows what happens until Ctrl-C, which stops the machine in order. With --detach it goes on in the
background: see understudy status, watch, console, failover and stop.

With --hosts the two processes run on two other computers, each under its daemon (understudy host --listen); the gateway
runs here. The daemons' secret must be here as well, and --arbiter must name what both hosts see.

A name that exists already starts that machine again, as it was. With --file, what is not on the command line comes from
a YAML file, which may set the protocol's settings as well: see docs/machine.example.yaml and understudy schema.

Exit codes:
  0      the machine was stopped in order, or runs in the background
  ${EXIT_CODE.usage}    the command line is wrong
  ${EXIT_CODE.failure}    it cannot be done; the message says why

Examples:
  understudy run debian -p 6379:6379
  understudy run debian --name db --memory 1G -p 127.0.0.1:6379:6379 --detach
  understudy run --name copy --load before-upgrade.snap
  understudy run debian --arbiter etcd:http://10.0.0.1:2379
  understudy run debian --hosts 10.0.0.1,10.0.0.2 --arbiter file:/srv/shared/arbiter -p 0.0.0.0:6379:6379 --detach
  understudy run --file machine.yaml`

/** What the user asked for. */
export interface RunCommandOptions {
  readonly file?: string
  readonly name?: string
  readonly publish: readonly string[]
  readonly net?: string
  readonly memory?: number
  readonly harts?: number
  readonly arbiter?: string
  readonly hosts?: readonly string[]
  readonly secret?: string
  readonly gatewayListen?: string
  readonly ack?: 'received' | 'executed'
  readonly append?: string
  readonly allowLoopback?: true
  readonly allowFaults?: true
  readonly translate: boolean
  readonly record?: true
  readonly load?: string
  readonly build?: true
  readonly detach?: true
}

export function define(command: Command): void {
  command
    .description('Runs a protected machine.')
    .argument('[IMAGE]', 'the image, by its name (default: debian)')
    .option('--file <FILE>', 'a YAML file that describes the machine')
    .option('--name <NAME>', "the machine's name (default: the image's)")
    .option(
      '-p, --publish <[HOST:]PORT:GUEST>',
      'forward a TCP port to the guest; may be given several times',
      (text: string, before: readonly string[]) => [...before, text],
      [] as readonly string[],
    )
    .option(
      '--net <NETWORK>',
      'gateway, none, stream:ADDRESS, a peer as of QEMU -netdev stream, or tap:INTERFACE (default: gateway)',
    )
    .option('--memory <SIZE>', `RAM (default: ${formatSize(RAM_BYTES_DEFAULT)})`, (text) =>
      parseMemory(text, RAM_BYTES_MIN),
    )
    .option('--harts <N>', 'number of harts (default: 1)', parseHarts)
    .option('--arbiter <ARBITER>', 'file:DIR or etcd:URL[,URL...] (default: a directory of the machine)')
    .option('--hosts <HOST[:PORT],HOST[:PORT]>', 'run the copies at these daemons', (text) => text.split(','))
    .option('--secret <FILE>', 'the secret that the hosts share (default: host-secret in UNDERSTUDY_HOME)')
    .option(
      '--gateway-listen <HOST>',
      'where the hosts reach the gateway (default: from where they were reached)',
    )
    .option(
      '--ack <WHEN>',
      'an output waits until the backup has the log: received, or has executed it: executed',
    )
    .option('--append <ARGS>', 'more kernel parameters')
    .option(
      '--allow-loopback',
      "the guest may reach this computer's own loopback at 10.0.2.2, and its link-local network",
    )
    .option('--load <FILE>', 'make the machine from a snapshot: what it was then, in a life of its own')
    .option('--record', "keep the log of each life in the machine's directory, for `understudy replay`")
    .option('--no-translate', 'interpret all code (changes nothing but speed)')
    .option('--allow-faults', 'tests may inject faults')
    .option('--build', 'build the image first if there is none of this name')
    .option('--detach', 'go on in the background')
    .addHelpText('after', HELP)
    .action(async (image: string | undefined, options: RunCommandOptions) => {
      const { run } = await import('./run_session.ts')
      await run(image, options)
    })
}
