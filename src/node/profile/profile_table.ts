/** A guest's profile for people. */
import type { GuestProfile, HotRegion } from './guest_profile.ts'
import { TIERS } from './tiers.ts'

const REGIONS_SHOWN = 10
const PLACES_SHOWN = 5
/** Less of the time is not worth a word. */
const SHARE_MIN = 0.0005

/** Some fifteen lines: time by tier, what was translated and what was not, and the hottest regions. */
export function profileTable(profile: GuestProfile): string {
  const { tiers, regions } = profile
  const times = TIERS.filter((tier) => tiers[tier].share >= SHARE_MIN)
    .toSorted((one, other) => tiers[other].share - tiers[one].share)
    .map((tier) => `${tier} ${percent(tiers[tier].share)}`)
  const lines = [`time   ${times.join(', ')}`, stepsLine(profile), ...translationLines(profile)]
  const rows = regions.slice(0, REGIONS_SHOWN).map(regionRow)
  // Names come from the guest, which must not control the terminal.
  return [...lines, ...rows].map((line) => `${line.replace(/[^ -~]/g, '?')}\n`).join('')
}

function stepsLine({ seconds, steps }: GuestProfile): string {
  const share = steps.total === 0 ? 0 : steps.translated / steps.total
  return `steps  ${count(steps.total)} in ${seconds.toFixed(1)} s, ${percent(share)} of them translated`
}

function translationLines({ translation, counters, interpreted }: GuestProfile): string[] {
  if (translation === null) return []
  const { regions, instructions, dropped, evicted, seconds, longestMs } = translation
  const made = `${regions} regions of ${count(instructions)} instructions, ${dropped} dropped, ${evicted} evicted`
  const waited = `made in ${seconds.toFixed(1)} s, ${longestMs.toFixed(0)} ms at most`
  const entered = `entered ${count(counters.regionEntries)} times from the interpreter`
  const places = interpreted.slice(0, PLACES_SHOWN).map(({ share, address, space, symbol }) => {
    return `${symbol ?? `${space} ${address}`} ${percent(share)}`
  })
  const rest = places.length === 0 ? [] : [`rest   interpreted in ${places.join(', ')}`]
  return [`code   ${made}; ${waited}; ${entered}`, ...rest]
}

function regionRow({ share, physical, address, space, instructions, symbol }: HotRegion): string {
  const place = `${percent(share).padStart(6)}  ${physical}  ${address.padEnd(18)}`
  return `${place}  ${`${instructions}`.padStart(4)} instructions  ${space}${symbol === null ? '' : ` ${symbol}`}`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`
}

/** 2.4 G, 31 k. */
function count(value: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (value >= size) return `${(value / size).toFixed(value < 10 * size ? 1 : 0)} ${unit}`
  return `${value}`
}
