/**
 * What the power-off of the primary's host costs a client: two hosts in network namespaces, TAP, and a client that asks all
 * the time over one connection (test/lab). Nothing says that the host is gone; the suspicion time has to pass.
 */
import { type HostName, Lab, otherHost } from '../test/lab/lab.ts'
import { lacksNamespaces } from '../test/lab/namespaces.ts'
import { systemImage } from '../test/system_image.ts'
import type { BenchOptions } from './guest_parts.ts'
import { type Figure, figure } from './results.ts'

const OUTAGES = 20
/** Answers after which the service goes on. */
const SERVED = 40

/** The client's longest wait around each power-off, and what is left of it behind the suspicion time. */
export async function measurePowerOff({ say }: BenchOptions): Promise<Figure[]> {
  const missing = lacksNamespaces()
  if (missing !== false) {
    say(`power-off: not measured: ${missing}`)
    return []
  }
  const image = await systemImage()
  if ('missing' in image) throw new Error(image.missing)
  const lab = await Lab.build(image)
  const outages: Outage[] = []
  try {
    let primary: HostName = 'a'
    await lab.start(primary)
    await lab.untilPrimary(primary)
    for (let round = 0; round < OUTAGES; round++) {
      say(`power-off: ${round + 1} of ${OUTAGES}`)
      await lab.untilProtected(primary)
      await lab.untilServed(SERVED)
      outages.push(await measureOutage(lab, primary))
      lab.powerOn(primary)
      primary = otherHost(primary)
    }
  } finally {
    await lab.end()
  }
  const of = (name: string, samples: readonly number[]): Figure =>
    figure({ part: 'power-off', name, unit: 'ms', isRate: false }, samples)
  return [
    of(
      'the guest is heard again, p50 and all',
      outages.map(({ heardMs }) => heardMs),
    ),
    of(
      'longest wait of a client, p50 and all',
      outages.map(({ pauseMs }) => pauseMs),
    ),
  ]
}

interface Outage {
  /** From the power-off to the guest's first frame from the other host. */
  readonly heardMs: number
  /**
   * A request that was lost on its way is sent again when the client's TCP does that, which after some 0.4 s without an
   * answer is not before some 0.8 s.
   */
  readonly pauseMs: number
}

async function measureOutage(lab: Lab, primary: HostName): Promise<Outage> {
  // What was waited before is of no interest.
  await lab.ask('pause')
  const start = Date.now()
  await lab.powerOff(primary)
  const successor = otherHost(primary)
  await lab.untilPrimary(successor)
  await lab.untilServed(SERVED)
  const pauseMs = (await lab.ask('pause')) as number
  const first = lab.frames().find(({ port, atMs }) => port === successor && atMs >= start)
  return { heardMs: (first?.atMs ?? Date.now()) - start, pauseMs }
}
