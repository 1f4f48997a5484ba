import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { PORT } from './computer.ts'
import { KERNEL_ADDRESS, sbiCall, smallComputer } from './testing/small_computer.ts'

test('the alarm of the RTC fires at the same position however run is cut', () => {
  // The alarm interrupts through the PLIC (source 11, context 1) 2000 ns after it was read.
  const source = `
      la t0, trap; csrw stvec, t0
      li t0, 0x0c000000; li t1, 1; sw t1, 44(t0)
      li t0, 0x0c002080; li t1, 0x800; sw t1, 0(t0)
      li t0, 0x0c201000; sw zero, 0(t0)
      li t0, 0x200; csrw sie, t0; csrsi sstatus, 2
      li t0, 0x101000; li t1, 1; sw t1, 16(t0)
      lw t1, 0(t0); lw t2, 4(t0); li t3, 2000; add t1, t1, t3
      sw t2, 12(t0); sw t1, 8(t0)
    loop: addi s0, s0, 1; j loop
      .align 2
    trap: mv s1, s0; j trap`
  const whole = smallComputer(nodeEngine, source)
  whole.run(5000n)
  const split = smallComputer(nodeEngine, source)
  for (let position = 1n; position <= 5000n; position++) split.run(position)
  const counted = split.machine.harts[0]!.x(9)
  assert.ok(counted > 100n && counted < 300n, `interrupted after ${counted} rounds`)
  assert.equal(whole.machine.harts[0]!.x(9), counted)
  assert.equal(whole.digest(), split.digest())
})

test('a power request of the SBI counts at its own position, also where run ends there', () => {
  const source = `nop; li a0, 0; li a1, 0; ${sbiCall('SRST', 0)}; j .`
  const whole = smallComputer(nodeEngine, source)
  assert.deepEqual(whole.run(1000n), { reason: 'power', request: { kind: 'power-off', code: 0 } })
  const limited = smallComputer(nodeEngine, source)
  assert.equal(limited.run(whole.position).reason, 'power')
  assert.equal(limited.digest(), whole.digest())
})

test('each piece of a console has the ordinal of its own last byte', () => {
  const length = 10_000
  const source = `li a0, ${length}; la a1, start; li a2, 0; ${sbiCall('DBCN', 0)}; j .`
  const computer = smallComputer(nodeEngine, source)
  computer.run(100n)
  let count = 0n
  for (const { port, ordinal, bytes } of computer.takeOutputs()) {
    count += BigInt(bytes.length)
    assert.equal(port, PORT.uart)
    assert.equal(ordinal, count)
  }
  assert.equal(count, BigInt(length))
})

test('a hart is not started or resumed at an odd address', () => {
  const source = `
      li a0, 1; li a1, ${KERNEL_ADDRESS + 1}; li a2, 0; ${sbiCall('HSM', 0)}; mv s0, a0
      li a0, 0x80000000; li a1, ${KERNEL_ADDRESS + 1}; li a2, 0; ${sbiCall('HSM', 3)}; mv s1, a0
      j .`
  const computer = smallComputer(nodeEngine, source, { harts: 2 })
  computer.run(200n)
  const [first, second] = computer.machine.harts
  assert.equal(BigInt.asIntN(64, first!.x(8)), -5n)
  assert.equal(BigInt.asIntN(64, first!.x(9)), -5n)
  assert.equal(second!.get32('state'), 2)
  assert.equal(computer.position, 200n)
})

test('a run ends early where much output waits, which changes nothing', () => {
  const source = `loop: li a0, 0x10000; la a1, start; li a2, 0; ${sbiCall('DBCN', 0)}; j loop`
  const computer = smallComputer(nodeEngine, source)
  const end = 20_000n
  let stops = 0
  let most = 0
  while (computer.position < end) {
    if (computer.run(end).reason === 'output') stops++
    const bytes = computer.takeOutputs().reduce((sum, output) => sum + output.bytes.length, 0)
    most = Math.max(most, bytes)
  }
  assert.ok(stops > 10)
  assert.ok(most <= 2 ** 21, `${most} bytes at once`)
  const stepped = smallComputer(nodeEngine, source)
  for (let position = 100n; position <= end; position += 100n) {
    stepped.run(position)
    while (stepped.position < position) stepped.run(position)
    stepped.takeOutputs()
  }
  assert.equal(stepped.digest(), computer.digest())
})

test('a call of the SBI ends a reservation, as a trap does', () => {
  const source = `
      la t0, data; lr.d t1, (t0); li a0, 0; ${sbiCall('TIME', 0)}; sc.d s0, t1, (t0)
      j .
      .align 3
    data: .dword 0`
  const computer = smallComputer(nodeEngine, source)
  computer.run(100n)
  assert.equal(computer.machine.harts[0]!.x(8), 1n)
})
