import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseRunOutput, runParameter } from './run.ts'

test('a command travels as base64, so that no character of it means anything to the kernel', () => {
  const parameter = runParameter('echo "a b" \'c\' "ü"')
  assert.match(parameter, /^understudy\.run=[A-Za-z0-9+/=]+$/)
  assert.equal(Buffer.from(parameter.slice(15), 'base64').toString(), 'echo "a b" \'c\' "ü"')
})

test('a command that the kernel would cut off is refused', () => {
  runParameter('x'.repeat(588))
  assert.throws(() => runParameter('x'.repeat(600)), {
    name: 'UserError',
    message: /600 bytes, at most 588 fit/,
  })
})

test('output of any bytes is parted from the status at its end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 255 }), (output, status) => {
      const mark = Buffer.from(`\x1eunderstudy-exit ${status}\n`)
      assert.deepEqual(parseRunOutput(new Uint8Array([...output, ...mark])), { output, status })
    }),
  )
})

test('only a mark at the very end counts', () => {
  const forged = Buffer.from('\x1eunderstudy-exit 0\nmore\n')
  assert.equal(parseRunOutput(forged).status, undefined)
  const both = parseRunOutput(Buffer.from('\x1eunderstudy-exit 0\n\x1eunderstudy-exit 3\n'))
  assert.deepEqual([Buffer.from(both.output).toString(), both.status], ['\x1eunderstudy-exit 0\n', 3])
})

test('the farewell of the kernel may follow on a serial console', () => {
  const found = parseRunOutput(
    Buffer.from('hi\n\x1eunderstudy-exit 7\n[    9.235345] reboot: Power down\r\n'),
  )
  assert.deepEqual([Buffer.from(found.output).toString(), found.status], ['hi\n', 7])
})

test('no output and no mark is an unknown status', () => {
  assert.deepEqual(parseRunOutput(new Uint8Array()), { output: new Uint8Array(), status: undefined })
})
