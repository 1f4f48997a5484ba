/** `understudy gateway`: the process between a machine's clients and whichever host has the primary. */
import { PORT } from '../../board/computer.ts'
import { GuestNetwork } from '../../gateway/guest_network.ts'
import { LinkServer } from '../../gateway/link_server.ts'
import { parsePortForward } from '../../gateway/port_forward.ts'
import { ControlServer, controlMethod } from '../../host/control_server.ts'
import { openCredentials } from '../../host/secure_credentials.ts'
import { listenSecure, type SecureListener } from '../../host/secure_listener.ts'
import { GATEWAY_NAME, type GatewayConfig } from './pair.ts'

export interface RunningGateway {
  close(): Promise<void>
}

/** Throws a UserError if a port cannot be had. */
export async function startGateway(
  config: GatewayConfig,
  onNotice: (text: string) => void,
): Promise<RunningGateway> {
  const { machine, secretFile, listen, forwards, allowLoopback } = config
  const credentials = await openCredentials({ secretFile })
  const network = await GuestNetwork.open({
    ...{ forwards: forwards.map(parsePortForward), allowLoopback, onNotice },
    transmit: (frame) => links.input(PORT.net, frame),
  })
  let life: number | undefined
  const links: LinkServer = new LinkServer(machine, {
    onNotice,
    onFrame: (port, bytes) => {
      if (port === PORT.net) network.receive(bytes)
    },
    onAttached: ({ peerName, epoch, life: attached }) => {
      // A cold start: the machine that the clients were connected to is gone with its memory.
      if (life !== undefined && attached !== life) network.guestRestarted()
      life = attached
      onNotice(`the primary is at ${peerName}, epoch ${epoch}`)
      network.attached()
    },
    onDetached: (reason) => {
      onNotice(`no primary: ${reason}`)
      network.detached()
    },
  })
  const status = controlMethod(
    () => undefined,
    async () => ({ machine, pid: process.pid, forwards: [...forwards], isAttached: links.isAttached }),
  )
  const control = new ControlServer({ status }, onNotice)
  const listening = listenSecure({
    ...{ credentials, name: GATEWAY_NAME, ...listen, onNotice },
    services: {
      gateway: { terms: () => ({ machine }), accept: (stream, peer) => links.accept(stream, peer.name) },
      control: { terms: () => ({ machine }), accept: (stream, peer) => control.accept(stream, peer.name) },
    },
  })
  const listener: SecureListener = await listening.catch(async (error: unknown) => {
    await network.close()
    throw error
  })
  return {
    close: async () => {
      control.close()
      await network.close()
      await listener.close()
    },
  }
}
