/**
 * The gateway: it holds the clients' connections, and talks to the one process that may put out.
 *
 * A process connects as the primary of a configuration. The fence (the production code's) refuses it, or says what has
 * been had from its life. Requests of clients go to the process that is attached; they wait while there is none. What
 * was sent to one that dies is lost.
 */

import type { PortOrdinal } from '../src/replication/message.ts'
import { OutputFence } from '../src/replication/output_fence.ts'
import type { Bug } from '../src/replication/planted.ts'
import type { MachineOutput } from '../src/replication/ports.ts'
import type { ProcessId } from './observation.ts'
import type { SiteLinks } from './site_links.ts'
import { Wire } from './wire.ts'
import type { World } from './world.ts'

export const GATEWAY = 'gateway'

/** What a process hears from the gateway. */
export interface GatewayClient {
  readonly process: ProcessId
  readonly epoch: number
  readonly life: number
  onUp(left: readonly PortOrdinal[]): void
  onLeft(port: number, ordinal: bigint): void
  onInput(port: number, bytes: Uint8Array): void
  /** It is broken, or has been refused. */
  onDown(reason: string): void
}

type ToGateway = { readonly kind: 'hello' } | { readonly kind: 'output'; readonly output: MachineOutput }
type ToProcess = (client: GatewayClient) => void

/** A connection between a process and the gateway. */
export class GatewayLink {
  readonly client: GatewayClient
  readonly #toGateway: Wire<ToGateway>
  readonly #toProcess: Wire<ToProcess>
  isOpen = true

  constructor(
    world: World,
    links: SiteLinks,
    client: GatewayClient,
    onArrival: (link: GatewayLink, value: ToGateway) => void,
  ) {
    this.client = client
    const { host } = client.process
    this.#toGateway = new Wire(world, links, [host, GATEWAY], (value) => {
      if (this.isOpen) onArrival(this, value)
    })
    this.#toProcess = new Wire(world, links, [GATEWAY, host], (call) => call(client))
    this.#toGateway.send({ kind: 'hello' })
  }

  /** An output leaves the process. */
  put(output: MachineOutput): void {
    this.#toGateway.send({ kind: 'output', output })
  }

  /** The gateway says something to the process. */
  tell(call: ToProcess): void {
    if (this.isOpen) this.#toProcess.send(call)
  }

  /** The gateway ends it. */
  refuse(reason: string): void {
    this.tell((client) => client.onDown(reason))
    this.isOpen = false
  }

  /** The process is gone. What it has handed over may still arrive. */
  abandon(): void {
    this.#toProcess.cut()
  }
}

export class Gateway {
  readonly #world: World
  readonly #links: SiteLinks
  readonly #planted: ReadonlySet<Bug>
  #fence: OutputFence
  #connections = new Set<GatewayLink>()
  #attached: GatewayLink | undefined
  #waiting: { readonly port: number; readonly bytes: Uint8Array }[] = []
  /** Called with what reaches the clients. */
  onOutput: (port: number, bytes: Uint8Array) => void = () => {}
  /** Called when the clients' connections fail. */
  onRestart: () => void = () => {}
  isDown = false

  constructor(world: World, links: SiteLinks, planted: ReadonlySet<Bug>) {
    this.#world = world
    this.#links = links
    this.#planted = planted
    this.#fence = new OutputFence(planted)
  }

  connect(client: GatewayClient): GatewayLink {
    const link = new GatewayLink(this.#world, this.#links, client, (from, value) => this.#take(from, value))
    this.#connections.add(link)
    return link
  }

  /** Bytes of a client for the machine. */
  input(port: number, bytes: Uint8Array): void {
    if (this.isDown) return
    if (this.#attached === undefined) this.#waiting.push({ port, bytes })
    else this.#attached.tell((client) => client.onInput(port, bytes))
  }

  /** The gateway's process ends: nothing is known any more, and all connections fail. */
  stop(): void {
    this.isDown = true
    this.#fence = new OutputFence(this.#planted)
    for (const link of this.#connections) link.refuse('the gateway has ended')
    this.#connections.clear()
    this.#attached = undefined
    this.#waiting = []
    this.onRestart()
  }

  start(): void {
    this.isDown = false
  }

  #take(link: GatewayLink, value: ToGateway): void {
    if (this.isDown) return this.#refuse(link, 'no gateway is there')
    if (value.kind === 'hello') this.#attach(link)
    else if (link === this.#attached) this.#deliver(link, value.output)
  }

  #attach(link: GatewayLink): void {
    const { epoch, life } = link.client
    const left = this.#fence.attach(epoch, life)
    if (left === undefined) return this.#refuse(link, 'a later configuration has attached')
    if (this.#attached !== undefined && this.#attached !== link) {
      this.#refuse(this.#attached, 'another link has attached')
    }
    this.#attached = link
    this.#world.observe({ kind: 'attached', process: link.client.process, epoch, life })
    this.#world.say(GATEWAY, () => `${link.client.process.incarnation} attaches with epoch ${epoch}`)
    link.tell((client) => client.onUp(left))
    for (const { port, bytes } of this.#waiting) link.tell((client) => client.onInput(port, bytes))
    this.#waiting = []
  }

  #refuse(link: GatewayLink, reason: string): void {
    link.refuse(reason)
    this.#connections.delete(link)
    if (this.#attached === link) this.#attached = undefined
  }

  #deliver(link: GatewayLink, { port, ordinal, bytes }: MachineOutput): void {
    const { process: from, epoch, life } = link.client
    if (this.#fence.take(epoch, port, ordinal)) {
      this.#world.observe({ kind: 'delivered', process: from, epoch, life, port, ordinal, bytes })
      this.onOutput(port, bytes)
    }
    link.tell((client) => client.onLeft(port, ordinal))
  }
}
