import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressOf, announcement } from './announcement.ts'

const mac = Uint8Array.of(0x52, 0x54, 1, 2, 3, 4)
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

test('a machine whose address is known announces it by gratuitous ARP', () => {
  const frame = announcement(mac, '10.0.2.15')
  assert.equal(frame.length, 60)
  const start = 'ffffffffffff' + '525401020304' + '0806' + '0001' + '0800' + '0604' + '0001'
  assert.equal(hex(frame.subarray(0, 42)), `${start}525401020304${'0a00020f'}${'000000000000'}0a00020f`)
})

test('any other machine announces itself by RARP', () => {
  const frame = announcement(mac, undefined)
  const start = 'ffffffffffff' + '525401020304' + '8035' + '0001' + '0800' + '0604' + '0003'
  assert.equal(hex(frame.subarray(0, 42)), `${start}525401020304${'00000000'}525401020304${'00000000'}`)
})

test('a machine has the address that its kernel parameters give it', () => {
  assert.equal(addressOf('console=ttyS0 understudy.net=10.0.2.15/24,10.0.2.2 quiet'), '10.0.2.15')
  assert.equal(addressOf('console=ttyS0 understudy.net=none'), undefined)
  assert.equal(addressOf('console=ttyS0'), undefined)
})
