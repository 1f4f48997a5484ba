import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { UserError } from '../../base/errors.ts'
import { daemonAddressText, isEveryAddress, isLoopback, parseDaemonAddress } from './daemon_address.ts'

test("a daemon's address is a host with a port, or with the usual one", () => {
  assert.deepEqual(parseDaemonAddress('10.0.0.1'), { host: '10.0.0.1', port: 7830 })
  assert.deepEqual(parseDaemonAddress('host-a.example:7000'), { host: 'host-a.example', port: 7000 })
  assert.deepEqual(parseDaemonAddress('[fd00::1]'), { host: 'fd00::1', port: 7830 })
  assert.deepEqual(parseDaemonAddress('[::1]:80'), { host: '::1', port: 80 })
  assert.deepEqual(parseDaemonAddress('127.0.0.1:0', 0), { host: '127.0.0.1', port: 0 })
})

test('what is none is refused', () => {
  const wrong = [
    '',
    ':1',
    'a:',
    'a:b',
    'a:0',
    'a:65536',
    'a:1:2',
    'fd00::1',
    '[a]:1',
    '[::1',
    'a b',
    'a/b',
    'a:1 ',
  ]
  for (const text of wrong) assert.throws(() => parseDaemonAddress(text), /^UserError: '.*' is no address/s)
})

test('any text is an address or refused, and an address is read again as what it was', () => {
  const parse = (text: string): void => {
    try {
      const address = parseDaemonAddress(text)
      assert.deepEqual(parseDaemonAddress(daemonAddressText(address)), address)
    } catch (error) {
      assert.ok(error instanceof UserError, String(error))
    }
  }
  fc.assert(fc.property(fc.string(), parse))
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV4(),
        fc.domain(),
        fc.ipV6().map((ip) => `[${ip}]`),
      ),
      parse,
    ),
  )
})

test('the loopback is told from addresses that others reach', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) assert.ok(isLoopback(host))
  for (const host of ['10.0.0.1', '0.0.0.0', '127.evil.example']) assert.ok(!isLoopback(host))
  assert.deepEqual(['0.0.0.0', '::', '10.0.0.1'].map(isEveryAddress), [true, true, false])
})
