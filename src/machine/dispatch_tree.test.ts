import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildDispatchTree, type DispatchTree, leavesOf } from './dispatch_tree.ts'

const shares = new Map([
  ['ld', 40],
  ['add', 25],
  ['beq', 10],
  ['sd', 5],
])

function depthOf(tree: DispatchTree, name: string): number | undefined {
  if (tree.kind !== 'fork') return tree.kind === 'hot' && tree.name === name ? 0 : undefined
  const below = depthOf(tree.left, name) ?? depthOf(tree.right, name)
  return below === undefined ? undefined : below + 1
}

function leftmost(tree: DispatchTree): DispatchTree {
  return tree.kind === 'fork' ? leftmost(tree.left) : tree
}

test('every hot handler has one leaf, and the cold ones the leftmost', () => {
  for (const total of [81, 100, 1000]) {
    const tree = buildDispatchTree(shares, total)
    assert.deepEqual(leavesOf(tree).toSorted(), [...shares.keys()].toSorted())
    assert.equal(leftmost(tree).kind, 'cold')
  }
})

test('a more frequent handler is never farther than a rarer one', () => {
  const tree = buildDispatchTree(shares, 100)
  const depths = [...shares.keys()].map((name) => depthOf(tree, name)!)
  assert.deepEqual(depths, depths.toSorted())
  assert.equal(depths[0], 1)
})

test('without hot handlers the tree is the table alone', () => {
  assert.deepEqual(buildDispatchTree(new Map(), 1), { kind: 'cold' })
})

test('shares that leave nothing for the other handlers are refused', () => {
  assert.throws(() => buildDispatchTree(shares, 80), /leave nothing/)
})
