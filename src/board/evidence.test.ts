import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { nodeEngine } from '../host/engine.ts'
import { PAGE_BYTES } from '../machine/layout.ts'
import type { Computer } from './computer.ts'
import {
  compareEvidence,
  decodeEvidence,
  EVIDENCE_BYTES_MAX,
  encodeEvidence,
  gatherEvidence,
} from './evidence.ts'
import { smallComputer } from './testing/small_computer.ts'
import type { Witness } from './witness.ts'

/** A computer that has run a little, and its page hashes from before that. */
function ran(): { readonly computer: Computer; readonly equal: BigUint64Array } {
  const computer = smallComputer(nodeEngine, 'loop: addi t0, t0, 1; sd t0, 0(sp); j loop')
  const pages = computer.machine.layout.ramPages
  computer.digest()
  const equal = new BigUint64Array(pages)
  computer.machine.ram.copyHashes(equal)
  computer.run(computer.position + 1000n)
  return { computer, equal }
}

function witness(computer: Computer): Witness {
  computer.digest()
  const hashes = new BigUint64Array(computer.machine.layout.ramPages)
  computer.machine.ram.copyHashes(hashes)
  return { state: computer.saveState(), hashes }
}

test('evidence survives its way as bytes', () => {
  const { computer, equal } = ran()
  computer.machine.ram.write(0x8000_0000 + 3 * PAGE_BYTES, Uint8Array.of(0xaa))
  const evidence = gatherEvidence(computer, 7n, equal)
  assert.ok(evidence.pages.length > 0 && evidence.state.length > 0)
  assert.deepEqual(decodeEvidence(encodeEvidence(evidence)), evidence)
})

test('evidence has a limit, whatever has changed', () => {
  const state = smallComputer(nodeEngine, 'loop: j loop').saveState()
  const pages = Array.from({ length: 100_000 }, (_, page) => page)
  const ram = { pagesUnlike: () => pages, pageHash: () => 0xffff_ffff_ffff_ffffn }
  const many = { saveState: () => state, machine: { ram } } as unknown as Computer
  const evidence = gatherEvidence(many, 7n, new BigUint64Array())
  assert.equal(evidence.changed, 100_000)
  assert.ok(evidence.pages.length < 100_000)
  assert.ok(encodeEvidence(evidence).length <= EVIDENCE_BYTES_MAX - 128 * 1024)
  const same = { state, hashes: new BigUint64Array(100_000).fill(0xffff_ffff_ffff_ffffn) }
  assert.match(compareEvidence(same, evidence), /it is one of 34464 others$/)
})

test('a page that differs is named', () => {
  const { computer, equal } = ran()
  const own = witness(computer)
  const { ram } = computer.machine
  ram.write(0x8000_0000 + 3 * PAGE_BYTES, Uint8Array.of(0xaa))
  const line = compareEvidence(own, gatherEvidence(computer, 7n, equal))
  assert.match(line, /^page 0x80003000 has hash [0-9a-f]+ here and [0-9a-f]+ there$/)
})

test('some of many pages that differ are named, and the others counted', () => {
  const { computer, equal } = ran()
  const own = witness(computer)
  const pages = [3, 5, 8, 9, 12, 14]
  for (const page of pages) computer.machine.ram.write(0x8000_0000 + page * PAGE_BYTES, Uint8Array.of(0xaa))
  const line = compareEvidence(own, gatherEvidence(computer, 7n, equal))
  assert.deepEqual(line.match(/page 0x[0-9a-f]+/g), [
    'page 0x80003000',
    'page 0x80005000',
    'page 0x80008000',
    'page 0x80009000',
  ])
  assert.match(line, /there; and 2 more pages$/)
})

test('a register that differs is named', () => {
  const { computer, equal } = ran()
  const own = witness(computer)
  computer.machine.harts[0]!.setX(10, 0x1234n)
  const line = compareEvidence(own, gatherEvidence(computer, 7n, equal))
  assert.match(line, /x10 is .* here and 0x1234 there/)
})

test('where all that changed is equal, the difference is in what nothing has written', () => {
  const { computer, equal } = ran()
  const own = witness(computer)
  assert.match(compareEvidence(own, gatherEvidence(computer, 7n, equal)), /a page that nothing has written/)
})

test('what another copy cannot have sent is refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      // No state and no pages: then a few bytes may be evidence.
      if (bytes.length === 20) bytes[19] = 1
      assert.throws(() => decodeEvidence(bytes), FormatError)
    }),
  )
  const { computer, equal } = ran()
  const bytes = encodeEvidence(gatherEvidence(computer, 7n, equal))
  assert.throws(() => decodeEvidence(bytes.subarray(0, -1)), FormatError)
  assert.throws(() => decodeEvidence(Uint8Array.of(...bytes, 0)), FormatError)
})

test('a page that has changed here alone is named', () => {
  const { computer, equal } = ran()
  const evidence = gatherEvidence(computer, 7n, equal)
  computer.machine.ram.write(0x8000_0000 + 3 * PAGE_BYTES, Uint8Array.of(0xaa))
  const line = compareEvidence(witness(computer), evidence, equal)
  assert.match(line, /^page 0x80003000 has hash [0-9a-f]+ here and [0-9a-f]+ there$/)
})
