import assert from 'node:assert/strict'
import { test } from 'node:test'
import { INPUT_BACKLOG_MAX } from './backlog.ts'
import { restore, stateOf } from './testing/state.ts'
import { Uart16550 } from './uart16550.ts'

function rig() {
  const sent: number[] = []
  const wire = { level: false }
  const uart = new Uart16550({
    name: 'uart0',
    line: (level) => {
      wire.level = level
    },
    transmit: (byte) => sent.push(byte),
  })
  const read = (offset: number) => uart.read(offset, 1)
  const write = (offset: number, value: number) => uart.write(offset, 1, value)
  return { uart, sent, wire, read, write }
}

const letters = (count: number) => Uint8Array.from({ length: count }, (_, index) => index & 0xff)

test('bytes written to THR are transmitted at once and in order', () => {
  const { sent, read, write } = rig()
  for (const byte of [0x68, 0x69, 0x1ff]) write(0, byte)
  assert.deepEqual(sent, [0x68, 0x69, 0xff])
  assert.equal(read(5), 0x60)
})

test('DLAB puts the divisor over the data and interrupt registers', () => {
  const { sent, read, write } = rig()
  write(3, 0x83)
  write(0, 0x34)
  write(1, 0x12)
  assert.deepEqual([read(0), read(1)], [0x34, 0x12])
  write(3, 0x03)
  assert.equal(read(1), 0)
  assert.deepEqual(sent, [])
  write(7, 0xa5)
  assert.equal(read(7), 0xa5)
  write(1, 0xff)
  assert.equal(read(1), 0x0f, 'IER has four bits')
})

test('enabling the transmitter interrupt raises it, IIR clears it, and the next byte raises it again', () => {
  const { wire, read, write } = rig()
  write(1, 0x02)
  assert.equal(wire.level, true)
  assert.equal(read(2), 0x02)
  assert.equal(wire.level, false)
  assert.equal(read(2), 0x01)
  write(0, 1)
  assert.equal(wire.level, true)
  write(1, 0)
  assert.equal(wire.level, false)
  write(1, 0x02)
  assert.equal(read(2), 0x02, 'enabling it again reports it again')
})

test('received data below the trigger level are reported as a timeout, at it as data', () => {
  const { uart, wire, read, write } = rig()
  write(2, 0x81)
  write(1, 0x01)
  uart.receive(letters(7))
  assert.equal(wire.level, true)
  assert.equal(read(2), 0xcc)
  uart.receive(letters(1))
  assert.equal(read(2), 0xc4)
  assert.equal(read(5) & 1, 1)
  for (let count = 0; count < 8; count++) read(0)
  assert.equal(read(2), 0xc1)
  assert.equal(wire.level, false)
})

test('without FIFOs one byte at a time is received', () => {
  const { uart, read, write } = rig()
  write(1, 0x01)
  uart.receive(Uint8Array.of(7, 8))
  assert.equal(read(2), 0x04)
  assert.equal(read(0), 7)
  assert.equal(read(0), 8)
  assert.equal(read(5), 0x60)
  assert.equal(read(0), 0)
})

test('input beyond the FIFO waits and refills it, and what exceeds the backlog is counted', () => {
  const { uart, read, write } = rig()
  write(2, 0x01)
  assert.equal(uart.receive(letters(INPUT_BACKLOG_MAX + 5)), 5)
  assert.equal(uart.receive(letters(20)), 4, 'the FIFO has taken 16')
  const got = Array.from({ length: INPUT_BACKLOG_MAX }, () => read(0))
  assert.deepEqual(got, [...letters(INPUT_BACKLOG_MAX)])
  assert.deepEqual(
    Array.from({ length: 17 }, () => read(0)),
    [...letters(16), 0],
  )
})

test('clearing the receiver drops what the FIFO holds', () => {
  const { uart, read, write } = rig()
  write(2, 0x01)
  uart.receive(letters(20))
  write(2, 0x03)
  assert.equal(read(0), 16, 'the backlog moves up')
})

test('loopback returns bytes and modem lines, and overruns when the guest does not read', () => {
  const { uart, sent, wire, read, write } = rig()
  write(4, 0x1a)
  assert.equal(read(6) & 0xf0, 0x90)
  write(4, 0x15)
  assert.equal(read(6) & 0xf0, 0x60)
  write(4, 0x10)
  assert.equal(read(6), 0x06, 'DSR changed, RI ended')
  write(0, 0x41)
  write(1, 0x04)
  assert.equal(wire.level, false)
  write(0, 0x42)
  assert.equal(wire.level, true)
  assert.equal(read(2), 0x06)
  assert.equal(read(5), 0x63)
  assert.equal(read(5), 0x61)
  uart.receive(Uint8Array.of(0x43))
  assert.equal(read(0), 0x41)
  assert.equal(read(0), 0, 'the outside waits')
  write(4, 0)
  assert.equal(read(0), 0x43)
  assert.deepEqual(sent, [])
})

test('what has been sent waits while RTS is down, once the guest has raised it', () => {
  const { uart, read, write } = rig()
  write(2, 0x01)
  uart.receive(letters(2))
  assert.equal(read(0), 0, 'a guest that has never raised it is sent to')
  write(4, 0x02)
  write(4, 0x00)
  uart.receive(letters(40))
  assert.equal(read(0), 1)
  assert.equal(read(5) & 1, 0)
  const copy = rig()
  restore(copy.uart, stateOf(uart))
  for (const port of [copy, { uart, read, write }]) {
    assert.equal(port.read(5) & 1, 0)
    port.write(4, 0x02)
    assert.deepEqual(
      Array.from({ length: 40 }, () => port.read(0)),
      [...letters(40)],
    )
  }
})

test('there is room while the guest listens, and as much as it can take at once', () => {
  const { uart, write } = rig()
  assert.equal(uart.room, 0)
  write(1, 0x01)
  assert.equal(uart.room, 4096)
  write(1, 0x00)
  write(4, 0x02)
  assert.equal(uart.room, 4096)
  uart.receive(letters(1001))
  assert.equal(uart.room, 3096, 'one byte has gone on')
  uart.receive(letters(5000))
  assert.equal(uart.room, 0)
  write(4, 0x12)
  assert.equal(uart.room, 0)
})

test('a modem interrupt comes last and is cleared by reading MSR', () => {
  const { wire, read, write } = rig()
  write(1, 0x08)
  write(4, 0x10)
  assert.equal(wire.level, true)
  assert.equal(read(2), 0x00)
  assert.equal(read(6), 0x0b)
  assert.equal(wire.level, false)
})

test('a restored port continues as the original, and reset returns to power-on', () => {
  const { uart, read, write } = rig()
  write(2, 0xc1)
  write(1, 0x03)
  uart.receive(letters(100))
  read(0)
  const copy = rig()
  restore(copy.uart, stateOf(uart))
  assert.equal(copy.wire.level, true)
  for (let count = 0; count < 99; count++) {
    assert.equal(copy.read(2), read(2))
    assert.equal(copy.read(0), read(0))
  }
  assert.deepEqual(stateOf(copy.uart), stateOf(uart))
  copy.uart.receive(letters(3))
  copy.uart.reset()
  assert.equal(copy.wire.level, false)
  assert.deepEqual(stateOf(copy.uart), stateOf(rig().uart))
})
