import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CallNode } from '../../host/cpu_profiler.ts'
import { type ProfileTier, TimeByTier, tierOf } from './tiers.ts'

const CORE = 'wasm://wasm/0006ea06'
const source = (path: string): string => `file:///understudy/src/${path}`

/** A call from each function to the next: names and places. */
function calls(...path: readonly (readonly [name: string, url: string])[]): CallNode[] {
  return path.map(([name, url], index) => ({
    ...{ name, url, ms: index === path.length - 1 ? 10 : 0 },
    caller: index === 0 ? undefined : index - 1,
  }))
}

const root = ['(root)', ''] as const
const machine = ['#runSlice', source('machine/machine.ts')] as const
const interpreter = ['run', CORE] as const

const expected: readonly [what: string, tier: ProfileTier, nodes: CallNode[]][] = [
  ['a region', 'translated', calls(root, machine, interpreter, ['region17', 'wasm://wasm/1'])],
  ['the interpreter', 'interpreter', calls(root, machine, interpreter)],
  [
    'chain under a region',
    'chain',
    calls(root, interpreter, ['region1', 'wasm://wasm/1'], ['chain', 'wasm://wasm/1']),
  ],
  ['a slow path', 'core', calls(root, interpreter, ['region1', 'wasm://wasm/1'], ['regionLoad', CORE])],
  ['a way into WebAssembly', 'unknown', calls(root, machine, ['js-to-wasm:ii:i', CORE])],
  [
    'what is built in and called by the translator',
    'translator',
    calls(
      root,
      machine,
      ['#work', source('machine/translator/batch.ts')],
      ['instantiate', source('host/engine.ts')],
      ['Module', ''],
    ),
  ],
  [
    'the decoder, called by the predecoder',
    'decoding',
    calls(
      root,
      interpreter,
      ['decodeRun', source('machine/predecode.ts')],
      ['decode', source('isa/decode.ts')],
    ),
  ],
  [
    'the decoder, called by the translator',
    'translator',
    calls(
      root,
      machine,
      ['findFlow', source('machine/translator/control_flow.ts')],
      ['decode', source('isa/decode.ts')],
    ),
  ],
  [
    'RAM, written by a device',
    'devices',
    calls(
      root,
      interpreter,
      ['store', source('devices/virtio_block.ts')],
      ['write', source('machine/ram.ts')],
    ),
  ],
  [
    'JavaScript that WebAssembly calls',
    'host',
    calls(root, interpreter, ['mmioLoad', source('machine/hart.ts')]),
  ],
  [
    'what is built in and called by that',
    'host',
    calls(root, interpreter, ['f', source('machine/hart.ts')], ['find', '']),
  ],
  [
    'what is built in and called by WebAssembly',
    'core',
    calls(root, ['storeRam', CORE], ['Memory.fill', '']),
  ],
  ['garbage', 'gc', calls(root, machine, ['(garbage collector)', ''])],
  ['waiting', 'idle', calls(root, ['(idle)', ''])],
  ['V8 itself', 'native', calls(root, ['(program)', ''])],
]

describe('the tier', () => {
  for (const [what, tier, nodes] of expected)
    it(`of ${what} is ${tier}`, () => assert.equal(tierOf(nodes, nodes.at(-1)!), tier))
})

describe('time', () => {
  it('is summed by tier, region and function over all pieces', () => {
    const time = new TimeByTier()
    for (const nodes of [
      calls(root, interpreter),
      calls(root, interpreter, ['region3', 'wasm://wasm/1']),
      calls(root, ['region3', 'wasm://wasm/1']),
    ])
      time.add(nodes)
    assert.equal(time.ms, 30)
    assert.equal(time.tiers.translated, 20)
    assert.deepEqual([...time.regions], [['region3', 20]])
    assert.deepEqual(time.functions, [{ tier: 'interpreter', name: 'run', ms: 10 }])
  })
})
