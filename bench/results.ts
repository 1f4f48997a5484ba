/** What a bench run finds: figures in groups, printed as a table and written as JSON. */

export interface Figure {
  readonly part: string
  readonly name: string
  /** What the numbers are, such as `s`, `M steps/s`, `MB`. */
  readonly unit: string
  /** Understudy's, then what the same work took elsewhere, where that was measured. Medians. */
  readonly ours: number
  readonly qemu?: number
  readonly native?: number
  /** True if more is better; then a ratio above 1 means that we are ahead. */
  readonly isRate: boolean
  /** All measurements of ours, in order. */
  readonly samples: readonly number[]
  readonly qemuSamples?: readonly number[]
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** A figure of repeated measurements. Samples of QEMU and of the host may be missing. */
export function figure(
  place: { part: string; name: string; unit: string; isRate?: boolean },
  samples: readonly number[],
  others: { qemu?: readonly number[]; native?: readonly number[] } = {},
): Figure {
  const { qemu = [], native = [] } = others
  return {
    ...{ part: place.part, name: place.name, unit: place.unit, isRate: place.isRate ?? false },
    ...{ ours: median(samples), samples },
    ...(qemu.length > 0 && { qemu: median(qemu), qemuSamples: qemu }),
    ...(native.length > 0 && { native: median(native) }),
  }
}

/** How many times slower than the other: below 1 we are faster. */
function timesSlower(figure: Figure, other: number): number {
  return figure.isRate ? other / figure.ours : figure.ours / other
}

/** The figures as lines of text. Columns for QEMU and the host appear only if something was measured there. */
export function table(figures: readonly Figure[]): string {
  const hasQemu = figures.some(({ qemu }) => qemu !== undefined)
  const hasNative = figures.some(({ native }) => native !== undefined)
  const header = ['part', 'what', 'unit', 'ours', 'spread']
  if (hasQemu) header.push('QEMU', 'x QEMU')
  if (hasNative) header.push('native', 'x native')
  const rows = figures.map((one) => {
    const cells = [one.part, one.name, one.unit, short(one.ours), spread(one.samples)]
    if (hasQemu) cells.push(...comparison(one, one.qemu))
    if (hasNative) cells.push(...comparison(one, one.native))
    return cells
  })
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: string[]): string =>
    cells.map((cell, i) => (i < 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  return [header, ...rows].map((cells) => line(cells).trimEnd()).join('\n')
}

function comparison(one: Figure, other: number | undefined): string[] {
  return other === undefined ? ['', ''] : [short(other), timesSlower(one, other).toFixed(2)]
}

/** Smallest and largest measurement. */
function spread(samples: readonly number[]): string {
  return samples.length < 2 ? '' : `${short(Math.min(...samples))}-${short(Math.max(...samples))}`
}

/** Three significant digits, without an exponent. */
function short(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : `${Number(value.toPrecision(3))}`
}
