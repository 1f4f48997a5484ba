/** The network of a machine that is not protected: the gateway that protected ones have, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LinkClient, type LinkClientEvents } from '../src/gateway/link_client.ts'
import { openCredentials } from '../src/host/secure_credentials.ts'
import { dialSecure } from '../src/host/secure_dial.ts'
import { GATEWAY_NAME, type GatewayConfig } from '../src/node/host/pair.ts'
import { root } from '../tools/runtime.ts'

/** The machine's name, and that of its one host. */
const NAME = 'bench'
const LOOPBACK = '127.0.0.1'

/** How a machine reaches its gateway. */
export interface GatewayPlace {
  readonly port: number
  readonly secretFile: string
}

/** Starts a gateway that passes a port of this computer on to the guest's; resolves when it listens. */
export async function startGateway(
  folder: string,
  port: number,
  forward: { readonly hostPort: number; readonly guestPort: number },
): Promise<{ readonly place: GatewayPlace; readonly process: ChildProcess }> {
  const secretFile = join(folder, 'secret')
  const config: GatewayConfig = {
    ...{ kind: 'understudy-gateway', version: 1, machine: NAME, secretFile, allowLoopback: false },
    listen: { host: LOOPBACK, port },
    forwards: [`${LOOPBACK}:${forward.hostPort}:${forward.guestPort}`],
  }
  const path = join(folder, 'gateway.json')
  writeFileSync(path, JSON.stringify(config))
  const stdio = ['ignore', 'pipe', 'inherit'] as const
  const process = spawn(join(root, 'understudy'), ['gateway', '--config', path], { stdio: [...stdio] })
  // It says so when it runs.
  await Promise.race([once(process.stdout!, 'data'), onceFailed(process)])
  process.stdout!.resume()
  return { place: { port, secretFile }, process }
}

async function onceFailed(process: ChildProcess): Promise<never> {
  const [status] = await once(process, 'close')
  throw new Error(`the gateway ended with ${status}`)
}

/** Links a machine with its gateway; resolves when frames can pass. */
export async function linkGateway(
  { port, secretFile }: GatewayPlace,
  onInput: LinkClientEvents['onInput'],
): Promise<LinkClient> {
  const credentials = await openCredentials({ secretFile })
  const { promise, resolve, reject } = Promise.withResolvers<LinkClient>()
  const fail = (reason: string): void => reject(new Error(`no link to the gateway: ${reason}`))
  dialSecure(
    {
      ...{ credentials, name: NAME, peerName: GATEWAY_NAME, host: LOOPBACK, port },
      ...{ service: 'gateway', terms: { machine: NAME } },
    },
    {
      opened: (stream) => {
        const link = new LinkClient(stream, {
          onUp: () => resolve(link),
          onLeft: () => {},
          ...{ onInput, onDown: fail },
        })
        link.hello({ machine: NAME, epoch: 1, life: 1 })
      },
      failed: ({ reason }) => fail(reason),
    },
  )
  return promise
}
