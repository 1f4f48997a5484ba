/** Everything that a run simulates, put together. */
import type { Bug } from '../src/replication/planted.ts'
import { ArbiterSite } from './arbiter_site.ts'
import { Clients } from './clients.ts'
import { Gateway } from './gateway.ts'
import { Host } from './host.ts'
import { Network } from './network.ts'
import type { Shape } from './shape.ts'
import { SiteLinks } from './site_links.ts'
import type { Surroundings } from './surroundings.ts'
import type { World } from './world.ts'

export class Cluster {
  readonly surroundings: Surroundings
  readonly hosts: readonly Host[]
  readonly clients: Clients

  constructor(world: World, shape: Shape, planted: ReadonlySet<Bug>, isStateWatched: boolean) {
    const links = new SiteLinks(shape.network, world.randomStream())
    const gateway = new Gateway(world, links, planted)
    this.surroundings = {
      world,
      shape,
      links,
      network: new Network(world, links, world.randomStream()),
      arbiter: new ArbiterSite(world, links, world.randomStream()),
      gateway,
      planted,
      isStateWatched,
      stateWatch: { onState: undefined },
    }
    this.hosts = shape.hosts.map((name, i) => new Host(this.surroundings, name, i === 0))
    for (const host of this.hosts) this.surroundings.network.addSite(host.name, host)
    this.clients = new Clients(world, gateway, world.randomStream(), shape.clients, shape.thinkMs)
    for (const host of this.hosts) host.start()
  }

  /** What every process is at the moment, host by host. */
  states(): string[] {
    return this.hosts.map((host) => this.stateOf(host))
  }

  stateOf(host: Host): string {
    return host.running?.state ?? (host.isUp ? 'no process' : 'no power')
  }

  /** Whether a machine runs with two copies. */
  get isProtected(): boolean {
    return this.hosts.some((host) => {
      const member = host.running?.member
      return member?.role.name === 'primary' && member.protection().state === 'protected'
    })
  }
}
