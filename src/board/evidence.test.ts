import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { nodeEngine } from '../host/engine.ts'
import { PAGE_BYTES } from '../machine/layout.ts'
import type { Computer } from './computer.ts'
import { compareEvidence, decodeEvidence, encodeEvidence, gatherEvidence } from './evidence.ts'
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

test('evidence survives its way as a line of ASCII', () => {
  const { computer, equal } = ran()
  const evidence = gatherEvidence(computer, 7n, equal)
  const text = encodeEvidence(evidence)
  assert.match(text, /^[ -~]+$/)
  assert.ok(text.length < 60_000)
  assert.deepEqual(decodeEvidence(text), evidence)
})

test('a page that differs is named', () => {
  const { computer, equal } = ran()
  const own = witness(computer)
  const { ram } = computer.machine
  ram.write(0x8000_0000 + 3 * PAGE_BYTES, Uint8Array.of(0xaa))
  const line = compareEvidence(own, gatherEvidence(computer, 7n, equal))
  assert.match(line, /^page 0x80003000 has hash [0-9a-f]+ here and [0-9a-f]+ there$/)
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
    fc.property(fc.string({ unit: 'grapheme-ascii' }), (text) => {
      assert.throws(() => decodeEvidence(text), FormatError)
    }),
  )
  const { computer, equal } = ran()
  const text = encodeEvidence(gatherEvidence(computer, 7n, equal))
  assert.throws(() => decodeEvidence(text.replace('"index":"7"', '"index":"-7"')), FormatError)
})

test('a page that has changed here alone is named', () => {
  const { computer, equal } = ran()
  const evidence = gatherEvidence(computer, 7n, equal)
  computer.machine.ram.write(0x8000_0000 + 3 * PAGE_BYTES, Uint8Array.of(0xaa))
  const line = compareEvidence(witness(computer), evidence, equal)
  assert.match(line, /^page 0x80003000 has hash [0-9a-f]+ here and [0-9a-f]+ there$/)
})
