/** What a bench run finds: figures in groups, printed as a table and written as JSON. */

/** How many times longer than there it may take here. */
export interface Goals {
  readonly qemu?: number
  readonly native?: number
}

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
  readonly goals?: Goals
}

/** How many times longer several figures took here than there: the geometric mean. */
export interface Mean {
  readonly part: string
  readonly name: string
  readonly timesQemu?: number
  readonly timesNative?: number
  readonly goals: Goals
}

/** A line of the table. */
export type Finding = Figure | Mean

/** The n-th root of the product of n positive numbers. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}

/** The means of a part's figures, each over those that were measured there as well. */
export function meanOf(figures: readonly Figure[], goals: Goals): Mean {
  const timesOver = (peer: 'qemu' | 'native'): number[] =>
    figures.flatMap((one) => (one[peer] === undefined ? [] : [timesSlower(one, one[peer])]))
  const [qemu, native] = [timesOver('qemu'), timesOver('native')]
  return {
    ...{ part: figures[0]!.part, name: 'geometric mean', goals },
    ...(qemu.length > 0 && { timesQemu: geometricMean(qemu) }),
    ...(native.length > 0 && { timesNative: geometricMean(native) }),
  }
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** A figure of repeated measurements. Samples of QEMU and of the host may be missing. */
export function figure(
  place: { part: string; name: string; unit: string; isRate?: boolean; goals?: Goals | undefined },
  samples: readonly number[],
  others: { qemu?: readonly number[]; native?: readonly number[] } = {},
): Figure {
  const { qemu = [], native = [] } = others
  return {
    ...{ part: place.part, name: place.name, unit: place.unit, isRate: place.isRate ?? false },
    ...{ ours: median(samples), samples },
    ...(qemu.length > 0 && { qemu: median(qemu), qemuSamples: qemu }),
    ...(native.length > 0 && { native: median(native) }),
    ...(place.goals !== undefined && { goals: place.goals }),
  }
}

/** How many times slower than the other: below 1 we are faster. */
function timesSlower(figure: Figure, other: number): number {
  return figure.isRate ? other / figure.ours : figure.ours / other
}

/** What stands in a line of the table, by column; a column appears if it says something in any line. */
type Cells = Readonly<Record<string, string>>

const COLUMNS = [
  ...['part', 'what', 'unit', 'ours', 'spread'],
  ...['QEMU', 'x QEMU', 'goal QEMU', 'native', 'x native', 'goal native'],
]
/** Of text, on the left. */
const LEFT_COLUMNS = 3

/** The findings as lines of text. A goal that is missed has an exclamation mark. */
export function table(findings: readonly Finding[]): string {
  const lines = findings.map(cellsOf)
  const columns = COLUMNS.filter((name, i) => i < LEFT_COLUMNS || lines.some((cells) => cells[name]))
  const rows = [columns, ...lines.map((cells) => columns.map((name) => cells[name] ?? ''))]
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i < LEFT_COLUMNS ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  return rows.map((row) => line(row).trimEnd()).join('\n')
}

function cellsOf(one: Finding): Cells {
  const place = { part: one.part, what: one.name }
  if (!('samples' in one)) {
    const { timesQemu, timesNative, goals } = one
    return {
      ...{ ...place, unit: 'x' },
      ...ratioCells('QEMU', timesQemu, goals.qemu),
      ...ratioCells('native', timesNative, goals.native),
    }
  }
  const { qemu, native, goals } = one
  return {
    ...{ ...place, unit: one.unit, ours: short(one.ours), spread: spread(one.samples) },
    ...(qemu !== undefined && { QEMU: short(qemu) }),
    ...ratioCells('QEMU', qemu && timesSlower(one, qemu), goals?.qemu),
    ...(native !== undefined && { native: short(native) }),
    ...ratioCells('native', native && timesSlower(one, native), goals?.native),
  }
}

function ratioCells(peer: string, times: number | undefined, goal: number | undefined): Cells {
  if (times === undefined) return {}
  return {
    [`x ${peer}`]: times.toFixed(2),
    ...(goal !== undefined && { [`goal ${peer}`]: `${goal.toFixed(2)} ${times > goal ? '!' : ' '}` }),
  }
}

/** Smallest and largest measurement. */
function spread(samples: readonly number[]): string {
  return samples.length < 2 ? '' : `${short(Math.min(...samples))}-${short(Math.max(...samples))}`
}

/** Three significant digits, without an exponent. */
function short(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : `${Number(value.toPrecision(3))}`
}
