/** Everything around a process that is not its host. */
import type { Bug } from '../src/replication/planted.ts'
import type { ArbiterSite } from './arbiter_site.ts'
import type { Gateway } from './gateway.ts'
import type { Network } from './network.ts'
import type { Shape } from './shape.ts'
import type { SiteLinks } from './site_links.ts'
import type { World } from './world.ts'

/** Whoever wants to hear of every state that a process gets into; it costs time, so in most runs nobody does. */
export interface StateWatch {
  onState: ((host: string, state: string) => void) | undefined
}

export interface Surroundings {
  readonly world: World
  readonly shape: Shape
  readonly links: SiteLinks
  readonly network: Network
  readonly arbiter: ArbiterSite
  readonly gateway: Gateway
  readonly planted: ReadonlySet<Bug>
  readonly stateWatch: StateWatch
  /** Whether anybody looks at the states that records lead to. */
  readonly isStateWatched: boolean
}
