import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nearestWord } from './nearest_word.ts'

const WORDS = ['name', 'image', 'publish', 'memory', 'allowLoopback', 'net']

test('a mistyped word is known by its nearest', () => {
  assert.equal(nearestWord('pubish', WORDS), 'publish')
  assert.equal(nearestWord('Memory', WORDS), 'memory')
  assert.equal(nearestWord('allow-loopback', WORDS), 'allowLoopback')
  assert.equal(nearestWord('nmae', ['name']), undefined)
  assert.equal(nearestWord('names', WORDS), 'name')
})

test('a word that is like none is not guessed at', () => {
  for (const typed of ['', 'quorum', 'x'.repeat(10_000)]) assert.equal(nearestWord(typed, WORDS), undefined)
})
