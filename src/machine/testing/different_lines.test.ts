import assert from 'node:assert/strict'
import { test } from 'node:test'
import { differentLines } from './different_lines.ts'

test('what differs is shown with what stands around it', () => {
  const before = 'one two three four five six seven eight nine'.split(' ')
  const after = before.with(4, 'FIVE')
  assert.equal(
    differentLines(before.join('\n'), after.join('\n')),
    ['  two', '  three', '  four', '- five', '+ FIVE', '  six', '  seven', '  eight', '  ...'].join('\n'),
  )
})

test('lines that are added or taken away move nothing else', () => {
  assert.equal(differentLines('a\nb', 'a\nnew\nb'), '  a\n+ new\n  b')
  assert.equal(differentLines('a\nold\nb', 'a\nb'), '  a\n- old\n  b')
  assert.equal(differentLines('a', 'a'), '')
})
