/** Values on the command line, read strictly: what is not exactly right is refused with a word about what would be. */
import { InvalidArgumentError } from 'commander'
import { HARTS_MAX, RAM_BYTES_MAX, RAM_BYTES_STEP } from '../node/machine_limits.ts'

const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }

/** A number of bytes with an optional unit of 1024, 1024² or 1024³ bytes: `512M`, `1G`. */
export function parseSize(text: string): number {
  const match = /^([1-9]\d*)([KMG]?)$/.exec(text)
  const bytes = match ? Number(match[1]) * (UNITS[match[2]!] ?? 1) : Number.NaN
  if (Number.isSafeInteger(bytes)) return bytes
  throw new InvalidArgumentError('Expected a size as 512M or 1G.')
}

/** A size that the guest's RAM can have, at least `bytesMin`. */
export function parseMemory(text: string, bytesMin: number): number {
  const bytes = parseSize(text)
  if (bytes >= bytesMin && bytes <= RAM_BYTES_MAX && bytes % RAM_BYTES_STEP === 0) return bytes
  const [min, max, step] = [bytesMin, RAM_BYTES_MAX, RAM_BYTES_STEP].map(formatSize)
  throw new InvalidArgumentError(`RAM is ${min} to ${max}, a multiple of ${step}.`)
}

/** A number of harts. */
export function parseHarts(text: string): number {
  const harts = Number(text)
  if (/^[1-9]$/.test(text) && harts <= HARTS_MAX) return harts
  throw new InvalidArgumentError(`Expected 1 to ${HARTS_MAX} harts.`)
}

/** A positive whole number, such as a count of instructions, of at most 64 bits. */
export function parseCount(text: string): bigint {
  if (/^[1-9]\d{0,19}$/.test(text) && BigInt(text) < 1n << 64n) return BigInt(text)
  throw new InvalidArgumentError('Expected a positive whole number in decimal digits.')
}

/** A number of bytes for people: `512M`, `1.5G`, `84K`. */
export function formatSize(bytes: number): string {
  const unit = ['G', 'M', 'K'].find((letter) => bytes >= UNITS[letter]!)
  if (unit === undefined) return `${bytes}`
  return `${Number((bytes / UNITS[unit]!).toFixed(1))}${unit}`
}
