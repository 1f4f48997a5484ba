import assert from 'node:assert/strict'
import { mock, type TestContext, test } from 'node:test'
import { Announcer, addressOf, announcement, epochOf } from './announcement.ts'

const mac = Uint8Array.of(0x52, 0x54, 1, 2, 3, 4)
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

test('a machine whose address is known announces it by gratuitous ARP', () => {
  const frame = announcement(mac, '10.0.2.15', 7)
  assert.equal(frame.length, 60)
  const start = 'ffffffffffff' + '525401020304' + '0806' + '0001' + '0800' + '0604' + '0001'
  assert.equal(hex(frame.subarray(0, 42)), `${start}525401020304${'0a00020f'}${'000000000000'}0a00020f`)
})

test('any other machine announces itself by RARP', () => {
  const frame = announcement(mac, undefined, 7)
  const start = 'ffffffffffff' + '525401020304' + '8035' + '0001' + '0800' + '0604' + '0003'
  assert.equal(hex(frame.subarray(0, 42)), `${start}525401020304${'00000000'}525401020304${'00000000'}`)
})

test('a machine has the address that its kernel parameters give it', () => {
  assert.equal(addressOf('console=ttyS0 understudy.net=10.0.2.15/24,10.0.2.2 quiet'), '10.0.2.15')
  assert.equal(addressOf('console=ttyS0 understudy.net=none'), undefined)
  assert.equal(addressOf('console=ttyS0'), undefined)
  const twice = 'understudy.net=10.0.2.15/24,10.0.2.2 understudy.net=10.77.0.15/24 understudy.net.x=1.2.3.4/8'
  assert.equal(addressOf(twice), '10.77.0.15')
  assert.equal(addressOf('understudy.net=10.0.2.15/24 understudy.net=none'), undefined)
})

/** An announcer, and how often it has spoken. */
function counted(context: TestContext): { announcer: Announcer; count: () => number } {
  let count = 0
  const announcer = new Announcer(mac, undefined, () => count++)
  context.after(() => announcer.stop())
  return { announcer, count: () => count }
}

const frameFrom = (source: Uint8Array): Uint8Array => Uint8Array.of(1, 0, 0x5e, 0, 0, 1, ...source, 8, 0)

test('a machine that is live announces itself at once, a few times more, and then now and then', (context) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  context.after(() => mock.timers.reset())
  const { announcer, count } = counted(context)
  announcer.start(5)
  assert.equal(count(), 1)
  mock.timers.tick(4999)
  assert.equal(count(), 7)
  for (const more of [1, 2, 3]) {
    mock.timers.tick(5001)
    assert.equal(count(), 7 + more)
  }
  announcer.start(5)
  announcer.stop()
  mock.timers.tick(60_000)
  assert.equal(count(), 11)
})

test('whoever else shows the address of a machine that is live is answered, but not without end', (context) => {
  const { announcer, count } = counted(context)
  announcer.onFrame(frameFrom(mac))
  assert.equal(count(), 0)
  announcer.start(5)
  const before = count()
  announcer.onFrame(frameFrom(mac))
  assert.equal(count(), before)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60)
  announcer.onFrame(frameFrom(Uint8Array.of(0x52, 0x54, 1, 2, 3, 5)))
  assert.equal(count(), before)
  announcer.onFrame(frameFrom(mac))
  announcer.onFrame(frameFrom(mac))
  assert.equal(count(), before + 1)
})

test('a machine falls silent when an announcement of a later epoch is heard, and of no other', (context) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  context.after(() => mock.timers.reset())
  const { announcer, count } = counted(context)
  announcer.start(5)
  for (const epoch of [1, 5]) announcer.onFrame(announcement(mac, undefined, epoch))
  announcer.onFrame(announcement(Uint8Array.of(2, 0, 0, 0, 0, 1), undefined, 9))
  mock.timers.tick(49)
  assert.equal(count(), 1)
  mock.timers.tick(1)
  assert.equal(count(), 2)
  announcer.onFrame(announcement(mac, '10.0.2.15', 6))
  mock.timers.tick(60_000)
  assert.equal(count(), 2)
})

test('an announcement carries its epoch, and no other frame has one', () => {
  for (const epoch of [0, 1, 2 ** 40]) assert.equal(epochOf(announcement(mac, '10.0.2.15', epoch)), epoch)
  assert.equal(epochOf(new Uint8Array(60)), undefined)
  assert.equal(epochOf(announcement(mac, undefined, 3).subarray(0, 59)), undefined)
})
