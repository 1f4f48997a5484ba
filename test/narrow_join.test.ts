/** A copy that joins over a narrow line, which takes far longer for the machine's memory than anything else may take. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { smallHosts, until } from '../src/node/testing/small_hosts.ts'
import { DEFAULT_SETTINGS } from '../src/replication/settings.ts'
import { ThrottledRelay } from './protected/throttled_relay.ts'

/** Bytes a second. */
const MBIT = 1_000_000 / 8
/** What the machine has in its memory that cannot be compressed. */
const MEMORY_BYTES = 2 ** 21
const KERNEL = `
    li t0, 0x81000000
    li t1, ${0x8100_0000 + MEMORY_BYTES}
    li t2, 88172645463325252
  fill:
    slli t3, t2, 13; xor t2, t2, t3
    srli t3, t2, 7;  xor t2, t2, t3
    slli t3, t2, 17; xor t2, t2, t3
    sd t2, 0(t0)
    addi t0, t0, 8
    bltu t0, t1, fill
  again:
    wfi
    j again`

/** Steps of a round of the loop above. */
const ROUND_STEPS = 9

async function executedSteps(metricsUrl: string): Promise<number> {
  const text = await (await fetch(metricsUrl)).text()
  return Number(/^understudy_executed_steps_total\S* (\d+)$/m.exec(text)?.[1] ?? 0)
}

test('a copy joins over a line of 1 Mbit/s, at the first attempt', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-narrow-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const hosts = await smallHosts(t, folder, { kernel: KERNEL })
  const { a, arbiter, said, start, portOfA, metricsUrl } = hosts
  const filledSteps = (MEMORY_BYTES / 8) * ROUND_STEPS
  await until('filled', async () => (await executedSteps(metricsUrl)) >= filledSteps)
  const relay = await ThrottledRelay.start(portOfA)
  t.after(() => relay.close())
  relay.limit(MBIT)
  const startMs = performance.now()
  await start('b', arbiter, relay.port)
  await until('protected', () => a.protection.state === 'protected')
  const tookMs = performance.now() - startMs
  t.diagnostic(`${relay.passedBytes} bytes in ${Math.round(tookMs)} ms; ${said.a}${said.b}`)
  assert.ok(relay.passedBytes > MEMORY_BYTES)
  assert.ok(tookMs > DEFAULT_SETTINGS.stallMs, 'long enough to try the patience of both sides')
  assert.doesNotMatch(`${said.a}${said.b}`, /given up|no channel/)
})
