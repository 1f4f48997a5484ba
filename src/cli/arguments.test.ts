import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatSize, parseCount, parseHarts, parseMemory, parseSize } from './arguments.ts'

test('a size is a whole number with one capital unit', () => {
  assert.equal(parseSize('512M'), 512 * 2 ** 20)
  assert.equal(parseSize('1G'), 2 ** 30)
  assert.equal(parseSize('4096'), 4096)
  for (const text of [
    '',
    'M',
    '0',
    '0M',
    '-1M',
    '1.5G',
    '512m',
    '512MB',
    ' 1G',
    '1G ',
    '1T',
    '0x10',
    '9'.repeat(16),
  ]) {
    assert.throws(() => parseSize(text), /Expected a size/, text)
  }
})

test('a size in whole units reads as it is written', () => {
  const units = fc.constantFrom('K', 'M', 'G')
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1023 }), units, (count, unit) => {
      assert.equal(formatSize(parseSize(`${count}${unit}`)), `${count}${unit}`)
    }),
  )
})

test('RAM has a least size, a greatest size and a step', () => {
  assert.equal(parseMemory('64M', 2 ** 26), 2 ** 26)
  assert.equal(parseMemory('3G', 2 ** 26), 3 * 2 ** 30)
  for (const text of ['62M', '65M', '3074M']) {
    assert.throws(() => parseMemory(text, 2 ** 26), /RAM is 64M to 3G, a multiple of 2M/, text)
  }
})

test('harts and counts are decimal and in range', () => {
  assert.equal(parseHarts('8'), 8)
  for (const text of ['0', '9', '1.0', '10', 'two', '']) assert.throws(() => parseHarts(text), /1 to 8/, text)
  assert.equal(parseCount('18446744073709551615'), 2n ** 64n - 1n)
  for (const text of ['0', '-1', '1e9', '1_000', '18446744073709551616', '']) {
    assert.throws(() => parseCount(text), /positive whole number/, text)
  }
})
