/**
 * Goldens of the translator: what WebAssembly a piece of guest assembly becomes, in `golden/`. They are there to be read
 * where a change of the emission changes them; that it is right is for other tests.
 *
 *     node src/machine/translator/golden.test.ts --rewrite
 *
 * writes them all anew, and takes away those that belong to nothing.
 */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { differentLines } from '../testing/different_lines.ts'
import { translatedText } from '../testing/region_text.ts'

const folder = fileURLToPath(new URL('./golden/', import.meta.url))
const isRewriting = process.argv.includes('--rewrite')
const REWRITE = 'node src/machine/translator/golden.test.ts --rewrite'

/** Guest assembly by the names of its golden files. */
const programs: Readonly<Record<string, string>> = {
  straight_line: `
      addi a0, a0, 1
      slli a1, a0, 3
      add a2, a1, a0
      ecall`,
  sum_of_array: `
      li a2, 0
   1: ld a3, 0(a0)
      add a2, a2, a3
      addi a0, a0, 8
      addi a1, a1, -1
      bnez a1, 1b
      mv a0, a2
      ret`,
  call_and_return: `
      jal ra, double
      addi a0, a0, 1
      jal ra, double
      ecall
   double:
      slli a0, a0, 1
      ret`,
  far_jump: `
      auipc t0, 3
      jalr zero, 16(t0)`,
  rotation: `
      lw a0, 0(a1)
      srliw a2, a0, 6
      slliw a3, a0, 26
      or a0, a2, a3
      li a2, 0
      li a3, 0
      ecall`,
  indirect_call: `
      ld t0, 8(a0)
      jalr ra, 0(t0)`,
  branch_diamond: `
      blt a0, a1, 1f
      sub a2, a0, a1
      j 2f
   1: sub a2, a1, a0
   2: addi a2, a2, 1
      ecall`,
  self_loop_with_two_exits: `
   1: lbu t0, 0(a0)
      beqz t0, 2f
      addi a0, a0, 1
      bne t0, a1, 1b
      li a0, 1
      ret
   2: li a0, 0
      ret`,
  nested_loops: `
   1: li t0, 10
   2: add a1, a1, t0
      addi t0, t0, -1
      bnez t0, 2b
      addi a0, a0, -1
      bnez a0, 1b
      ecall`,
  store: `
      sw a1, 4(a0)
      sb zero, 0(a0)
      ecall`,
  load_sizes: `
      lb a1, 0(a0)
      lhu a2, 2(a0)
      lw a3, -4(a0)
      ecall`,
  atomic_add: `
      amoadd.w a2, a1, (a0)
      ecall`,
  reservation: `
   1: lr.d t0, (a0)
      addi t0, t0, 1
      sc.d t1, t0, (a0)
      bnez t1, 1b
      ecall`,
  multiply_and_divide: `
      mulhu a2, a0, a1
      div a3, a0, a1
      remw a4, a0, a1
      ecall`,
  bits: `
      sh2add a2, a0, a1
      rev8 a3, a2
      cpop a4, a3
      ecall`,
  float_add: `
      fadd.d fa2, fa0, fa1
      ecall`,
  float_load_and_convert: `
      flw fa0, 0(a0)
      fcvt.l.s a1, fa0, rtz
      ecall`,
  compressed: `
      c.addi a0, -1
      c.lw a1, 4(a0)
      c.beqz a1, 1f
      c.jr ra
   1: c.ebreak`,
  zero_register: `
      addi zero, a0, 1
      add a1, zero, zero
      ld zero, 0(a0)
      ecall`,
}

function goldenOf(source: string): string {
  const { guest, entries, region } = translatedText(source)
  const places = entries.map((entry) => `0x${entry.toString(16)}`).join(', ')
  return `${guest}\nentered at ${places}\n\n${region}`
}

function readGolden(name: string): string | undefined {
  if (!readdirSync(folder).includes(`${name}.txt`)) return undefined
  return readFileSync(`${folder}${name}.txt`, 'utf8')
}

if (isRewriting) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  for (const [name, source] of Object.entries(programs))
    writeFileSync(`${folder}${name}.txt`, goldenOf(source))
}

for (const [name, source] of Object.entries(programs)) {
  test(`${name} becomes what its golden says`, () => {
    const golden = readGolden(name)
    if (golden === undefined) assert.fail(`golden/${name}.txt is missing: ${REWRITE}`)
    const text = goldenOf(source)
    if (text === golden) return
    const lines = differentLines(golden, text)
    assert.fail(`golden/${name}.txt (-) is not what is emitted (+); if that is right: ${REWRITE}\n\n${lines}`)
  })
}

test('every golden belongs to a program', () => {
  const names = Object.keys(programs).map((name) => `${name}.txt`)
  assert.deepEqual(readdirSync(folder).sort(), names.sort())
})
