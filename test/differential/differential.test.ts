/**
 * Our machine against QEMU on random programs, and the tester against itself: it must be reproducible, and it must
 * see an instruction that is wrong. Without QEMU what needs it is skipped, but fails where CI asks for it.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { decode, emptyDecoded } from '../../src/isa/decode.ts'
import { instructions } from '../../src/isa/instructions.ts'
import { differences, explain } from './compare.ts'
import { RAM } from './layout.ts'
import { compareProgram, STEPS_MAX } from './main.ts'
import { understudy } from './ours.ts'
import { kinds, makeProgram, type Program, traceArea } from './program.ts'
import { qemu, qemuMissing } from './qemu.ts'
import type { Subject } from './subject.ts'

const missing = qemuMissing()
const isRequired = process.env['CI'] === 'true'
const skip = missing !== undefined && !isRequired ? missing : false
const all = Object.keys(kinds)
/** Kinds whose blocks reach their last instruction. */
const mutated = ['I', 'M', 'Zba', 'Zbb', 'Zbs', 'F', 'D', 'memory', 'illegal', 'pmp']
const INSTRUCTIONS_MIN = 1_000_000

test('QEMU is there where CI asks for it', { skip }, () => {
  assert.equal(missing, undefined)
})

test('a million random instructions do on our machine what they do on QEMU', { skip }, () => {
  let instructions = 0
  for (let number = 0; instructions < INSTRUCTIONS_MIN; number++) {
    const outcome = compareProgram(1, number, all, [qemu, understudy])
    assert.equal(outcome.differences, 0, outcome.explanations.join('\n\n'))
    instructions += outcome.instructions
  }
})

test('a program is the same each time it is made, and does the same each time it runs', { skip }, () => {
  const [first, second] = [makeProgram(2, 0, all), makeProgram(2, 0, all)]
  assert.deepEqual(first.image, second.image)
  const [left, right] = [first, second].map((program) => traceOf(qemu, program, program.image))
  assert.equal(Buffer.compare(left!, right!), 0)
})

test('one wrong instruction is found in its block, whatever the kind of block', () => {
  for (const kind of mutated) {
    const program = makeProgram(3, 0, [kind], 100)
    const { image, block } = mutate(program)
    const [right, wrong] = [traceOf(understudy, program, program.image), traceOf(understudy, program, image)]
    const found = [...differences(program, right, wrong)]
    const blocks = new Set(found.map(({ execution }) => program.executions[execution]!.block))
    assert.deepEqual([...blocks], [block], `a mutation in a block of kind ${kind}`)
    assert.match(
      explain(program, found[0]!, ['right', 'wrong']),
      new RegExp(`kind ${kind} .*\\n *${block.start.toString(16)} `),
    )
  }
})

function traceOf(subject: Subject, program: Program, image: Uint8Array): Uint8Array {
  return subject.run(image, STEPS_MAX, [traceArea(program)])[0]!
}

/** The image with another destination in the last computation of some block, where nothing overwrites it. */
function mutate(program: Program) {
  const image = program.image.slice()
  const view = new DataView(image.buffer)
  const decoded = emptyDecoded()
  for (const { block } of program.executions) {
    const word = view.getUint32(block.last - RAM, true)
    if (!decode(word, decoded) || decoded.length !== 4) continue
    const { registers, operands } = instructions[decoded.op]!
    const other = decoded.rd ^ 8
    const { context, scratch } = program.harness
    if (registers.rd === undefined || operands.includes('csr') || operands.includes('target')) continue
    if ([0, 8].includes(decoded.rd) || [context, scratch].includes(other)) continue
    view.setUint32(block.last - RAM, word ^ (8 << 7), true)
    return { image, block }
  }
  throw new Error('no block ends with an instruction that can be mutated')
}
