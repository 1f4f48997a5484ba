/** Where a guest's time went, as `--profile FILE` writes it. */
import { PAGE_BYTES, RAM_BASE } from '../../machine/layout.ts'
import type { Statistics } from '../../machine/machine.ts'
import type { TranslatedRegion } from '../../machine/translator/observer.ts'
import type { TranslatorCounts } from '../../machine/translator/translator_counts.ts'
import type { SymbolTable } from './symbol_table.ts'
import { type ProfileTier, TIERS, type TimeByTier } from './tiers.ts'

const REGIONS_MAX = 100
const FUNCTIONS_MAX = 50
const PLACES_MAX = 50
/** Linux has the upper half of the addresses for itself. */
const UPPER_HALF = 1n << 63n

export type AddressSpace = 'kernel' | 'user' | 'program'

export interface HotRegion {
  /** Of all of the time. */
  readonly share: number
  readonly seconds: number
  /** Where it begins in the guest's physical memory, and where that was seen last in an address space. */
  readonly physical: string
  readonly address: string
  /** By the address; a program without an operating system has all addresses for itself. */
  readonly space: AddressSpace
  /** Null where none is known: names are those of the kernel, without its modules, and of bare programs. */
  readonly symbol: string | null
  /** Those of the guest that it was made from; of the last one if it was made anew. */
  readonly instructions: number
  /** How often it was made. */
  readonly translations: number
}

/** Code of the guest that was interpreted: a function, or where no name is known, a page. */
export interface HotPlace {
  /** Of the interpreted steps, by where slices ended. */
  readonly share: number
  readonly address: string
  readonly space: AddressSpace
  readonly symbol: string | null
}

export interface HotFunction {
  readonly tier: ProfileTier
  readonly name: string
  readonly seconds: number
  readonly share: number
}

export interface GuestProfile {
  readonly kind: 'understudy-profile'
  readonly version: 1
  /** What was sampled, which is the run but for some milliseconds. */
  readonly seconds: number
  readonly tiers: Readonly<Record<ProfileTier, { readonly seconds: number; readonly share: number }>>
  readonly steps: { readonly total: number; readonly translated: number; readonly interpreted: number }
  /** The hottest ones first. */
  readonly regions: readonly HotRegion[]
  /** What was interpreted in spite of translation. */
  readonly interpreted: readonly HotPlace[]
  /** What else took time, by the names of Understudy's functions. */
  readonly functions: readonly HotFunction[]
  readonly counters: Statistics
  /** Null without translation. */
  readonly translation: TranslationReport | null
  /** Names that were found in the guest's kernel or program. */
  readonly symbols: number
}

/** What was translated; the machine waited for `seconds`, and at most `longestMs` at a time. */
export interface TranslationReport extends Omit<TranslatorCounts, 'steps'> {
  readonly seconds: number
  readonly longestMs: number
}

export interface ProfileMeasurement {
  readonly time: TimeByTier
  readonly regions: ReadonlyMap<string, TranslatedRegion>
  /** The steps of the slices that ended in interpreted code, by the addresses where they did. */
  readonly interpreted: ReadonlyMap<bigint, number>
  readonly steps: number
  readonly counters: Statistics
  readonly translated: TranslatorCounts | undefined
  readonly work: { readonly ms: number; readonly longestMs: number }
  readonly symbols: SymbolTable
  /** Whether the guest is an operating system. */
  readonly hasKernel: boolean
}

export function guestProfile(measured: ProfileMeasurement): GuestProfile {
  const { time, steps, counters, translated, work, symbols } = measured
  const total = time.ms
  const part = (ms: number) => ({ seconds: ms / 1000, share: total === 0 ? 0 : ms / total })
  const tiers = Object.fromEntries(TIERS.map((tier) => [tier, part(time.tiers[tier])]))
  const functions = hottest(time.functions, ({ ms }) => ms, FUNCTIONS_MAX)
  const { steps: translatedSteps = 0, ...counts } = translated ?? {}
  return {
    ...{ kind: 'understudy-profile', version: 1, seconds: total / 1000 },
    tiers: tiers as GuestProfile['tiers'],
    steps: { total: steps, translated: translatedSteps, interpreted: steps - translatedSteps },
    regions: hotRegions(measured),
    interpreted: hotPlaces(measured),
    functions: functions.map(({ tier, name, ms }) => ({ tier, name, ...part(ms) })),
    counters,
    translation:
      translated === undefined
        ? null
        : { ...(counts as TranslatorCounts), seconds: work.ms / 1000, longestMs: work.longestMs },
    symbols: symbols.size,
  }
}

/** The entries of which `size` says most, largest first. */
function hottest<T>(entries: Iterable<T>, size: (entry: T) => number, count: number): T[] {
  return [...entries].sort((one, other) => size(other) - size(one)).slice(0, count)
}

interface RegionTime {
  region: TranslatedRegion
  ms: number
  translations: number
}

function hotRegions({ time, regions, symbols, hasKernel }: ProfileMeasurement): HotRegion[] {
  const places = new Map<string, RegionTime>()
  for (const [name, region] of regions) {
    const ms = time.regions.get(name) ?? 0
    const key = `${region.page} ${region.inPage} ${region.address}`
    const former = places.get(key)
    const translations = (former?.translations ?? 0) + 1
    places.set(key, { region, ms: ms + (former?.ms ?? 0), translations })
  }
  const hot = hottest(places.values(), ({ ms }) => ms, REGIONS_MAX).filter(({ ms }) => ms > 0)
  const total = time.ms
  return hot.map(({ region: { page, inPage, address, instructions }, ms, translations }) => ({
    ...{ share: ms / total, seconds: ms / 1000 },
    physical: hex(RAM_BASE + page * PAGE_BYTES + inPage),
    address: hex(address),
    space: spaceOf(address, hasKernel),
    symbol: symbols.at(address) ?? null,
    ...{ instructions, translations },
  }))
}

function hotPlaces({ interpreted, symbols, hasKernel }: ProfileMeasurement): HotPlace[] {
  const places = new Map<bigint, { name: string | null; steps: number }>()
  let total = 0
  for (const [address, steps] of interpreted) {
    const symbol = symbols.find(address)
    const start = symbol?.address ?? address & -BigInt(PAGE_BYTES)
    const former = places.get(start)?.steps ?? 0
    places.set(start, { name: symbol?.name ?? null, steps: former + steps })
    total += steps
  }
  return hottest(places, ([, { steps }]) => steps, PLACES_MAX).map(([address, { name, steps }]) => ({
    ...{ share: steps / total, address: hex(address) },
    ...{ space: spaceOf(address, hasKernel), symbol: name },
  }))
}

function spaceOf(address: bigint, hasKernel: boolean): AddressSpace {
  if (!hasKernel) return 'program'
  return address >= UPPER_HALF ? 'kernel' : 'user'
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`
}
