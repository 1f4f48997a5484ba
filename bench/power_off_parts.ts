/**
 * What the power-off of the primary's host costs a client: two hosts in network namespaces, TAP, and a client that asks all
 * the time over one connection (test/lab). Nothing says that the host is gone; the suspicion time has to pass.
 */
import { DEFAULT_SETTINGS } from '../src/replication/settings.ts'
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
  const pauses: number[] = []
  try {
    let primary: HostName = 'a'
    await lab.start(primary)
    await lab.untilPrimary(primary)
    for (let round = 0; round < OUTAGES; round++) {
      say(`power-off: ${round + 1} of ${OUTAGES}`)
      await lab.untilProtected(primary)
      await lab.untilServed(SERVED)
      pauses.push(await measureOutage(lab, primary))
      lab.powerOn(primary)
      primary = otherHost(primary)
    }
  } finally {
    await lab.end()
  }
  const part = 'power-off'
  const beyond = pauses.map((ms) => ms - DEFAULT_SETTINGS.suspicionMs)
  return [
    figure({ part, name: 'outage at power-off, p50 and all', unit: 'ms', isRate: false }, pauses),
    figure(
      { part, name: 'outage at power-off beyond the suspicion time', unit: 'ms', isRate: false },
      beyond,
    ),
  ]
}

async function measureOutage(lab: Lab, primary: HostName): Promise<number> {
  // What was waited before is of no interest.
  await lab.ask('pause')
  await lab.powerOff(primary)
  await lab.untilPrimary(otherHost(primary))
  await lab.untilServed(SERVED)
  return (await lab.ask('pause')) as number
}
