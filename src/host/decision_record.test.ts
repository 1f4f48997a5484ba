import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalJson, type JsonObject } from '../base/canonical_json.ts'
import { crc32c } from '../base/crc32c.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { encodeAscii } from '../base/text.ts'
import { assertProposal, checkMachineName, decodeRecord, encodeRecord } from './decision_record.ts'

const decision = { epoch: 7, text: '{"a":"b"}' }

/** A record whose checksum is right, whatever it says. */
function recordOf(line: string): Uint8Array {
  return encodeAscii(`${line}\n${crc32c(encodeAscii(line)).toString(16).padStart(8, '0')}\n`)
}

test('a record is two lines that people can read', () => {
  assert.equal(
    encodeRecord('m', decision),
    '{"epoch":7,"kind":"understudy-decision","machine":"m","text":"{\\"a\\":\\"b\\"}","version":1}\na93df95a\n',
  )
  assert.deepEqual(decodeRecord(encodeAscii(encodeRecord('m', decision)), 'm', 'it'), decision)
})

test('a record with a right checksum is refused if it is none of ours', () => {
  const good: JsonObject = { kind: 'understudy-decision', version: 1, machine: 'm', epoch: 7, text: 't' }
  const cases: [JsonObject, RegExp][] = [
    [{ ...good, version: 2 }, /it: version 2, this program reads 1/],
    [{ ...good, kind: 'x' }, /it: not a decision/],
    [{ ...good, machine: 'n' }, /it: belongs to machine n/],
    [{ ...good, epoch: 0 }, /it: not a decision/],
    [{ ...good, epoch: 1.5 }, /it: not a decision/],
    [{ ...good, epoch: 2 ** 32 }, /it: not a decision/],
    [{ ...good, epoch: '7' }, /it: not a decision/],
    [{ ...good, text: 'two\nlines' }, /it: not a decision/],
    [{ ...good, text: 'x'.repeat(4097) }, /it: not a decision/],
    [{ ...good, more: 1 }, /it: not in canonical form/],
  ]
  for (const [json, message] of cases) {
    assert.throws(() => decodeRecord(recordOf(canonicalJson(json)), 'm', 'it'), message)
  }
  const spaced = canonicalJson(good).replace(',', ', ')
  assert.throws(() => decodeRecord(recordOf(spaced), 'm', 'it'), /it: not in canonical form/)
  assert.throws(() => decodeRecord(recordOf('x'), 'm', 'it'), /it: not JSON/)
  assert.throws(() => decodeRecord(new Uint8Array(20_000), 'm', 'it'), FormatError)
  assert.deepEqual(decodeRecord(recordOf(canonicalJson(good)), 'm', 'it'), { epoch: 7, text: 't' })
})

test('a machine is named by what every file system can hold', () => {
  for (const name of ['m', 'Web-1', 'a.b_c', '7']) checkMachineName(name)
  for (const name of ['', '.', '..', '.m', '-m', 'a/b', 'a b', 'ä', 'x'.repeat(64)]) {
    assert.throws(() => checkMachineName(name), UserError)
  }
})

test('a proposal that our own side must not make stops it', () => {
  assertProposal(undefined, { epoch: 1, text: 't' })
  const cases: [number | undefined, number, string][] = [
    [undefined, 2, 't'],
    [1, 1, 't'],
    [1, 3, 't'],
    [1, 2, ''],
    [1, 2, 'a\nb'],
    [1, 2, 'ä'],
    [0xffff_ffff, 0x1_0000_0000, 't'],
  ]
  for (const [before, epoch, text] of cases) {
    const expected = before === undefined ? undefined : { epoch: before, text: 't' }
    assert.throws(() => assertProposal(expected, { epoch, text }), /AssertionError|Assertion/)
  }
})
