/** Faults of a disk that tests inject into a running process. */
import type { QueuedDisk } from './disk_queue.ts'

export const DISK_FAULTS = ['none', 'hangs', 'full', 'broken'] as const
export type DiskFault = (typeof DISK_FAULTS)[number]

/** A disk that does what it is told to, or does not. */
export class FaultyDisk implements QueuedDisk {
  fault: DiskFault = 'none'
  readonly #disk: QueuedDisk

  constructor(disk: QueuedDisk) {
    this.#disk = disk
  }

  async read(sector: number, sectors: number): Promise<Uint8Array> {
    // A full disk can be read.
    if (this.fault !== 'full') await this.#suffer('read')
    return this.#disk.read(sector, sectors)
  }

  async write(sector: number, bytes: Uint8Array): Promise<void> {
    await this.#suffer('write')
    await this.#disk.write(sector, bytes)
  }

  async discard(sector: number, sectors: number): Promise<void> {
    await this.#suffer('write')
    await this.#disk.discard(sector, sectors)
  }

  async zeroes(sector: number, sectors: number): Promise<void> {
    await this.#suffer('write')
    await this.#disk.zeroes(sector, sectors)
  }

  async flush(): Promise<void> {
    await this.#suffer('fdatasync')
    await this.#disk.flush()
  }

  async #suffer(syscall: string): Promise<void> {
    if (this.fault === 'none') return
    if (this.fault === 'hangs') return new Promise(() => {})
    const code = this.fault === 'full' ? 'ENOSPC' : 'EIO'
    throw Object.assign(new Error(`${code}: planted, ${syscall}`), { code, syscall })
  }
}
