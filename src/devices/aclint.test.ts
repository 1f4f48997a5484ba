import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Aclint } from './aclint.ts'
import { restore, stateOf } from './testing/state.ts'

function rig() {
  const software = new Map<number, boolean>()
  const compare = new Map<number, bigint>()
  const time = { now: 0x1_2345_6789n }
  const aclint = new Aclint({
    harts: 2,
    clock: () => time.now,
    softwareInterrupt: (hart, level) => software.set(hart, level),
    timerCompare: (hart, value) => compare.set(hart, value),
  })
  return { aclint, software, compare, time }
}

test('msip has one bit and drives the software interrupt of its hart', () => {
  const { aclint, software } = rig()
  aclint.write(4, 4, 0xffff_ffff)
  assert.equal(aclint.read(4, 4), 1)
  assert.equal(aclint.read(0, 4), 0)
  assert.deepEqual([...software], [[1, true]])
  aclint.write(4, 4, 0xffff_fffe)
  assert.equal(software.get(1), false)
})

test('mtimecmp starts at all ones and is set by halves', () => {
  const { aclint, compare } = rig()
  assert.equal(aclint.read(0x4008, 4), 0xffff_ffff)
  assert.equal(aclint.read(0x400c, 4), 0xffff_ffff)
  aclint.write(0x4008, 4, 0x89ab_cdef)
  assert.equal(compare.get(1), 0xffff_ffff_89ab_cdefn)
  aclint.write(0x400c, 4, 1)
  assert.equal(compare.get(1), 0x1_89ab_cdefn)
  assert.equal(compare.has(0), false)
})

test('mtime is the guest clock, and writes to it are ignored', () => {
  const { aclint, compare } = rig()
  aclint.write(0xbff8, 4, 0)
  aclint.write(0xbffc, 4, 7)
  assert.equal(aclint.read(0xbff8, 4), 0x2345_6789)
  assert.equal(aclint.read(0xbffc, 4), 1)
  assert.equal(compare.size, 0)
})

test('harts that do not exist and narrow accesses do nothing', () => {
  const { aclint, software, compare } = rig()
  aclint.write(8, 4, 1)
  aclint.write(0x4010, 4, 1)
  aclint.write(0x4000, 2, 1)
  assert.equal(aclint.read(8, 4) + aclint.read(0x4010, 4) + aclint.read(0x4000, 1), 0)
  assert.equal(software.size + compare.size, 0)
})

test('reset and load tell the machine both values of every hart', () => {
  const { aclint } = rig()
  aclint.write(0, 4, 1)
  aclint.write(0x4000, 4, 5)
  const copy = rig()
  restore(copy.aclint, stateOf(aclint))
  assert.deepEqual([...copy.software.values()], [true, false])
  assert.equal(copy.compare.get(0), 0xffff_ffff_0000_0005n)
  copy.aclint.reset()
  assert.deepEqual([...copy.software.values()], [false, false])
  assert.equal(copy.compare.get(0), 0xffff_ffff_ffff_ffffn)
})
