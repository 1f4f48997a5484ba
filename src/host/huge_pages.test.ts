import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { nodeEngine } from './engine.ts'
import { onHugePages } from './huge_pages.ts'

const HUGE_BYTES = 2 << 20

/** Bytes of this process that are on huge pages. */
function hugeBytes(): number {
  const found = /^AnonHugePages: +([0-9]+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))
  return Number(found![1]) * 1024
}

test('what an engine makes of memory is on huge pages, where the system has any', {
  skip: process.platform !== 'linux',
}, (t) => {
  const mode = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1')
  if (mode.includes('[never]')) return t.skip('the system has no huge pages')
  const pages = 1024
  const { buffer } = onHugePages(nodeEngine).memory({
    initialPages: pages,
    maximumPages: pages,
    shared: true,
  })
  const before = hugeBytes()
  new Uint8Array(buffer).fill(1, 0, 16 * HUGE_BYTES)
  assert.ok(hugeBytes() - before >= 8 * HUGE_BYTES, `${hugeBytes() - before} bytes`)
})
