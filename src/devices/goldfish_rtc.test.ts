import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GoldfishRtc } from './goldfish_rtc.ts'
import { restore, stateOf } from './testing/state.ts'

const YEAR_2025_NS = 1_735_689_600_000_000_000n

function rig() {
  const time = { ticks: 0n }
  const wire = { level: false }
  const rtc = new GoldfishRtc({
    clock: () => time.ticks,
    line: (level) => {
      wire.level = level
    },
  })
  const now = () => BigInt(rtc.read(0, 4)) | (BigInt(rtc.read(4, 4)) << 32n)
  const arm = (ns: bigint) => {
    rtc.write(0x0c, 4, Number(ns >> 32n))
    rtc.write(0x08, 4, Number(ns & 0xffff_ffffn))
    rtc.write(0x10, 4, 1)
  }
  return { rtc, time, wire, now, arm }
}

test('time is the guest clock in nanoseconds plus the offset, and its high half is latched', () => {
  const { rtc, time, now } = rig()
  rtc.setOffset(YEAR_2025_NS)
  time.ticks = 25n
  assert.equal(now(), YEAR_2025_NS + 2500n)
  rtc.setOffset(0xffff_ff9cn)
  time.ticks = 0n
  assert.equal(rtc.read(0, 4), 0xffff_ff9c)
  time.ticks = 1n
  assert.equal(rtc.read(4, 4), 0, 'the half that belongs to the low half read before')
})

test('what the guest sets stays when the outside corrects the offset', () => {
  const { rtc, time, now } = rig()
  rtc.setOffset(1000n)
  const wanted = 0x1234_5678_9abc_def0n
  rtc.write(4, 4, Number(wanted >> 32n))
  rtc.write(0, 4, Number(wanted & 0xffff_ffffn))
  assert.equal(now(), wanted)
  time.ticks = 10n
  rtc.setOffset(1500n)
  assert.equal(now(), wanted + 1000n + 500n)
})

test('the alarm fires at the first tick at or after its time, once', () => {
  const { rtc, time, wire, arm } = rig()
  rtc.setOffset(50n)
  assert.equal(rtc.alarmTicks(), undefined)
  arm(1001n)
  assert.equal(rtc.read(0x18, 4), 1)
  assert.equal(rtc.alarmTicks(), 10n)
  time.ticks = 9n
  rtc.checkAlarm()
  assert.equal(wire.level, false)
  time.ticks = 10n
  rtc.checkAlarm()
  assert.equal(wire.level, true)
  assert.equal(rtc.read(0x18, 4), 0)
  assert.equal(rtc.alarmTicks(), undefined)
  rtc.write(0x1c, 4, 1)
  assert.equal(wire.level, false)
})

test('an alarm in the past fires at once, and one that an offset passes as well', () => {
  const { rtc, time, wire, arm } = rig()
  time.ticks = 100n
  arm(5n)
  assert.equal(wire.level, true)
  rtc.write(0x1c, 4, 1)
  arm(20_000n)
  assert.equal(wire.level, false)
  rtc.setOffset(10_000n)
  assert.equal(wire.level, true)
})

test('a cleared alarm never fires, and a disabled interrupt waits', () => {
  const { rtc, time, wire, arm } = rig()
  arm(1000n)
  rtc.write(0x14, 4, 1)
  assert.equal(rtc.alarmTicks(), undefined)
  arm(1000n)
  rtc.write(0x10, 4, 0)
  time.ticks = 50n
  rtc.checkAlarm()
  assert.equal(wire.level, false)
  rtc.write(0x10, 4, 1)
  assert.equal(wire.level, true)
})

test('a restored clock has its alarm and its line; reset keeps the calendar', () => {
  const { rtc, time, arm, now } = rig()
  rtc.setOffset(YEAR_2025_NS)
  arm(YEAR_2025_NS - 1n)
  arm(YEAR_2025_NS + 1000n)
  const copy = rig()
  restore(copy.rtc, stateOf(rtc))
  assert.equal(copy.wire.level, true)
  assert.equal(copy.rtc.alarmTicks(), 10n)
  copy.rtc.reset()
  assert.equal(copy.wire.level, false)
  assert.equal(copy.rtc.alarmTicks(), undefined)
  time.ticks = 5n
  copy.time.ticks = 5n
  assert.equal(copy.now(), now())
})
