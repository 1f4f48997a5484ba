import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { LoadCounts } from '../node/demo/append_load.ts'
import { type DemoPicture, DemoScreen, pictureLines } from './demo_screen.ts'

const COUNTS: LoadCounts = {
  ...{ isServing: true, acknowledged: 123, errors: 0, lastError: undefined },
  ...{ waitingMs: 0, longestPauseMs: 640.4, pauseSinceMarkMs: 0 },
}
const PICTURE: DemoPicture = {
  ...{ port: 6380, key: 'list', counts: COUNTS, kills: 1, events: ['one'] },
  status: {
    ...{ name: 'demo', protection: 'not protected', reason: 'backup joining', epoch: 3, position: '1' },
    ...{ primary: { host: 'b', pid: 12 }, backup: null, lagMs: 4.2, logBytesPerSecond: 54_321 },
    ...{ outputDelayMs: { p50: 1, p99: 4.25 }, forwards: [], metrics: {}, hosts: [] },
    detail: null,
  },
}

/** What a terminal of so many columns shows in the end. */
class Screen {
  readonly columns: number
  rows: string[] = []
  #row = 0

  constructor(columns: number) {
    this.columns = columns
  }

  write(text: string): void {
    const [first, ...sequences] = text.split('\x1b[')
    let line = first!
    for (const sequence of sequences) {
      const [, number, letter, rest] = /^([\d;]*)([A-Za-z])([\s\S]*)$/.exec(sequence)!
      if (letter === 'A') this.#row -= Number(number)
      const [before, ...after] = rest!.split('\r\n')
      line += before!.replace('\r', '')
      for (const next of after) {
        this.rows[this.#row++] = line
        line = next
      }
    }
  }
}

describe('the picture of the demo', () => {
  it('shows the state with its reason, the copies, and what the client has counted', () => {
    const text = pictureLines(PICTURE).join('\n')
    for (const part of [
      'redis-cli -p 6380',
      'not protected: backup joining',
      'b, pid 12',
      '54 kB/s',
      'p50 1.0 ms, p99 4.3 ms',
      '123 numbers acknowledged, to the list list; errors: 0',
      '640 ms',
      '  one',
    ])
      assert.ok(text.includes(part), `${part} in\n${text}`)
  })

  it('has as many lines whatever it shows', () => {
    const events = Array.from({ length: 30 }, (_, i) => `event ${i}`)
    const count = pictureLines(PICTURE).length
    assert.equal(pictureLines({ ...PICTURE, events }).length, count)
    assert.equal(pictureLines({ ...PICTURE, status: undefined, events: [], farewell: 'bye' }).length, count)
    assert.ok(pictureLines({ ...PICTURE, events }).includes('  event 29'))
  })

  it('is drawn over itself, and no line is wider than the terminal', () => {
    const screen = new Screen(40)
    const demo = new DemoScreen(screen, true)
    demo.draw(PICTURE)
    demo.draw({ ...PICTURE, events: ['x'.repeat(200), 'two'] })
    assert.equal(screen.rows.length, pictureLines(PICTURE).length)
    assert.ok(screen.rows.every((row) => row.length < 40))
    assert.ok(screen.rows.includes('  two'))
  })

  it('does not pass on what steers a terminal', () => {
    const screen = new Screen(200)
    const lastError = 'ERR \x1b[2J\nbad'
    new DemoScreen(screen, false).draw({ ...PICTURE, counts: { ...COUNTS, errors: 1, lastError } })
    assert.ok(screen.rows.some((row) => row.includes('(ERR ?[2J?bad)')))
  })
})
