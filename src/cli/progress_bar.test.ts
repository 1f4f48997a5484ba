import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProgressBar } from './progress_bar.ts'

function recorder(isTTY: boolean, columns = 60) {
  const written: string[] = []
  return { isTTY, columns, written, write: (text: string) => written.push(text) }
}

test('a terminal sees a line that is drawn again, and one line for each label', () => {
  const terminal = recorder(true)
  const bar = new ProgressBar(terminal)
  bar.update('packages', 0, 4)
  bar.update('packages', 1, 4)
  bar.update('packages', 1, 4)
  bar.update('disk', 1, 1)
  bar.finish()
  assert.deepEqual(terminal.written, [
    `\r[${'.'.repeat(24)}]   0%  packages\x1b[K`,
    `\r[${'#'.repeat(6)}${'.'.repeat(18)}]  25%  packages\x1b[K`,
    '\n',
    `\r[${'#'.repeat(24)}] 100%  disk\x1b[K`,
    '\n',
  ])
})

test('a line never reaches the last column, where it would wrap', () => {
  const terminal = recorder(true, 40)
  new ProgressBar(terminal).update('a label that is longer than the terminal', 1, 2)
  assert.equal(terminal.written[0]!.length, '\r'.length + 39 + '\x1b[K'.length)
})

test('a terminal that does not know its width gets the whole line', () => {
  const terminal = recorder(true, 0)
  new ProgressBar(terminal).update('packages', 1, 1)
  assert.match(terminal.written[0]!, /packages/)
})

test('nothing is written where there is no terminal', () => {
  const terminal = recorder(false)
  const bar = new ProgressBar(terminal)
  bar.update('packages', 1, 2)
  bar.finish()
  assert.deepEqual(terminal.written, [])
})
