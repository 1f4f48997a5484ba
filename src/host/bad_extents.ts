/** The places of a disk that could not be read. */
import type { SectorExtent } from './disk_scrubber.ts'

/** More places than this are a disk that has failed as a whole: the rest is not noted. */
const EXTENTS_MAX = 1024

export class BadExtents {
  /** In order of sectors, none touching another. */
  #extents: readonly SectorExtent[] = []

  get list(): readonly SectorExtent[] {
    return this.#extents
  }

  /** Notes a place, joined with what it overlaps or touches. */
  add({ sector, sectors }: SectorExtent): void {
    const isApart = (other: SectorExtent): boolean =>
      other.sector + other.sectors < sector || sector + sectors < other.sector
    const apart = this.#extents.filter(isApart)
    const joined = this.#extents.filter((other) => !isApart(other))
    if (joined.length === 0 && apart.length >= EXTENTS_MAX) return
    const start = Math.min(sector, ...joined.map((other) => other.sector))
    const end = Math.max(sector + sectors, ...joined.map((other) => other.sector + other.sectors))
    const extents = [...apart, { sector: start, sectors: end - start }]
    this.#extents = extents.sort((a, b) => a.sector - b.sector)
  }
}
