/** The demo on a terminal: a picture of a fixed number of lines, drawn over itself. */
import type { LoadCounts } from '../node/demo/append_load.ts'
import type { PairStatus } from '../node/host/pair_control.ts'

export interface DemoPicture {
  readonly port: number
  readonly key: string
  readonly status: PairStatus | undefined
  readonly counts: LoadCounts
  readonly kills: number
  /** Newest last. */
  readonly events: readonly string[]
  /** What the demo is about to do, in place of the keys. */
  readonly farewell?: string
}

const EVENTS_SHOWN = 8
const LABEL_COLUMNS = 16
const ERASE_TO_END_OF_LINE = '\x1b[K'
const RESET = '\x1b[0m'
const COLOURS = { good: '\x1b[1;32m', bad: '\x1b[1;33m' } as const

/** The picture's lines; always as many. */
export function pictureLines(picture: DemoPicture): string[] {
  const { port, key, status, counts, kills, events, farewell } = picture
  const recent = events.slice(-EVENTS_SHOWN)
  const padding = Array.from({ length: EVENTS_SHOWN - recent.length }, () => '')
  const row = (label: string, value: string): string => `  ${label.padEnd(LABEL_COLUMNS)}${value}`
  return [
    'Understudy: Debian with Redis, executed twice',
    '',
    row('connect', `redis-cli -p ${port}`),
    row('protection', protectionText(status)),
    row('epoch', `${status?.epoch ?? '-'}`),
    row('primary', copyText(status?.primary)),
    row('backup', `${copyText(status?.backup)}${lagText(status)}`),
    row('log', status?.logBytesPerSecond == null ? '-' : `${rateText(status.logBytesPerSecond)}`),
    row('output delay', delayText(status)),
    '',
    row('appended', appendedText(counts, key)),
    row('longest pause', `${Math.round(counts.longestPauseMs)} ms`),
    row('kills', `${kills}`),
    '',
    ...recent.map((event) => `  ${event}`),
    ...padding,
    '',
    `  ${farewell ?? 'k  kill the primary    f  hand over in order    q  check, stop and leave'}`,
  ]
}

function protectionText(status: PairStatus | undefined): string {
  if (status === undefined) return 'starting'
  return status.reason === null ? status.protection : `${status.protection}: ${status.reason}`
}

const copyText = (copy: PairStatus['primary'] | undefined): string =>
  copy == null ? 'none' : `${copy.host}, pid ${copy.pid}`

const lagText = (status: PairStatus | undefined): string =>
  status?.lagMs == null || status.backup === null ? '' : `, ${Math.round(status.lagMs)} ms behind`

export function rateText(bytesPerSecond: number): string {
  return bytesPerSecond < 10_000 ? `${bytesPerSecond} bytes/s` : `${Math.round(bytesPerSecond / 1000)} kB/s`
}

function delayText(status: PairStatus | undefined): string {
  if (status?.outputDelayMs == null) return '-'
  const { p50, p99 } = status.outputDelayMs
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`
}

function appendedText({ isServing, acknowledged, errors, lastError }: LoadCounts, key: string): string {
  if (!isServing) return 'nothing so far: Debian boots'
  const last = lastError === undefined ? '' : ` (${lastError})`
  return `${acknowledged} numbers acknowledged, to the list ${key}; errors: ${errors}${last}`
}

/** What a terminal is to the picture; process.stdout is one. */
export interface PictureTerminal {
  readonly columns?: number
  write(text: string): unknown
}

export class DemoScreen {
  readonly #terminal: PictureTerminal
  readonly #hasColour: boolean
  #drawn = 0

  constructor(terminal: PictureTerminal, hasColour: boolean) {
    this.#terminal = terminal
    this.#hasColour = hasColour
  }

  draw(picture: DemoPicture): void {
    // A line that wrapped would move everything below it. Some terminals say that they have no columns at all.
    const columns = (this.#terminal.columns || 80) - 1
    const lines = pictureLines(picture).map((line) => printable(line).slice(0, columns))
    const isGood = picture.status?.protection === 'protected'
    const text = lines.map((line) => `${this.#coloured(line, isGood)}${ERASE_TO_END_OF_LINE}\r\n`).join('')
    this.#terminal.write(`${this.#drawn === 0 ? '' : `\x1b[${this.#drawn}A`}\r${text}`)
    this.#drawn = lines.length
  }

  #coloured(line: string, isGood: boolean): string {
    if (!this.#hasColour || !line.startsWith('  protection')) return line
    const at = LABEL_COLUMNS + 2
    return `${line.slice(0, at)}${isGood ? COLOURS.good : COLOURS.bad}${line.slice(at)}${RESET}`
  }
}

/** What a guest says must not steer the terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}
