/** The networks that a machine can be on, as the host of its primary reaches them. */
import type { ComputerSpecification } from '../../board/computer.ts'
import type { Credentials } from '../../host/secure_credentials.ts'
import type { MachineOutput } from '../../replication/ports.ts'
import type { Network, NetworkEvents } from '../replica/machine_process.ts'
import { addressOf } from './announcement.ts'
import { GatewayNetwork } from './gateway_network.ts'
import type { HostConfig } from './host_config.ts'
import { StreamNetwork } from './stream_network.ts'
import { TapNetwork } from './tap_network.ts'

/** The network of a configuration; nothing is connected yet. Throws a UserError if it cannot be had. */
export function openNetwork(
  config: HostConfig,
  specification: ComputerSpecification,
  credentials: Credentials,
  onNotice: (text: string) => void,
): Network {
  const { network } = config
  if (network.kind === 'gateway') return new GatewayNetwork(network, config, credentials, onNotice)
  const { mac, bootArguments } = specification
  if (network.kind === 'none' || mac === undefined) return new NoNetwork()
  const ipAddress = addressOf(bootArguments)
  if (network.kind === 'tap')
    return new TapNetwork({ interface: network.interface, mac, ipAddress, onNotice })
  return new StreamNetwork({ address: network.address, mac, ipAddress, onNotice })
}

/** What leaves is lost, and nothing arrives. */
class NoNetwork implements Network {
  #events: NetworkEvents | undefined

  attach(_place: { readonly epoch: number; readonly life: number }, events: NetworkEvents): void {
    this.#events = events
    setImmediate(() => events.onUp([]))
  }

  put({ port, ordinal }: MachineOutput): void {
    setImmediate(() => this.#events?.onLeft(port, ordinal))
  }

  holdInput(): void {}

  close(): void {
    this.#events = undefined
  }
}
