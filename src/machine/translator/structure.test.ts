import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { buildFlowGraph, type FlowGraph } from './structure.ts'

const graphOf = (edges: Readonly<Record<number, readonly number[]>>): FlowGraph =>
  buildFlowGraph(
    0,
    (name) => name in edges,
    (name) => edges[name]!,
  )

/** Every path of forward edges from the entry to `node` leads through `through`. */
function dominates(graph: FlowGraph, through: number, node: number): boolean {
  const seen = new Set<number>()
  const reach = (from: number): void => {
    if (from === through || seen.has(from)) return
    seen.add(from)
    for (const to of graph.nodes) if (graph.hasEdge(from, to)) reach(to)
  }
  reach(graph.nodes[0]!)
  return !seen.has(node)
}

test('a diamond has one merge, under its top', () => {
  const graph = graphOf({ 0: [1, 2], 1: [3], 2: [3], 3: [] })
  assert.deepEqual(graph.mergesUnder(0), [3])
  assert.ok(graph.isMerge(3) && !graph.isMerge(1) && !graph.isMerge(2))
})

test('a loop has a head, which its back edge does not make a merge', () => {
  const graph = graphOf({ 0: [1], 1: [2, 3], 2: [1], 3: [] })
  assert.ok(graph.isLoopHead(1) && graph.isBack(2, 1) && !graph.isBack(1, 2))
  assert.ok(!graph.isLoopHead(0) && !graph.isLoopHead(2))
})

test('the way into an inner loop leads through the outer one', () => {
  const graph = graphOf({ 0: [1], 1: [2, 4], 2: [3], 3: [2, 1], 4: [] })
  assert.deepEqual(graph.waysInUnder(0), [{ node: 1, below: [2] }])
  assert.deepEqual(graph.waysInUnder(1), [{ node: 2, below: [] }])
  assert.ok(graph.hasEdge(0, 1) && graph.hasEdge(1, 2))
})

test('a loop keeps its rounds, and is entered by its head only', () => {
  const graph = graphOf({ 0: [1, 2], 1: [2], 2: [1] })
  assert.ok(graph.hasEdge(1, 2) && graph.hasEdge(2, 1))
  assert.equal(graph.nodes.filter((node) => graph.isLoopHead(node)).length, 1)
  // The head is where the loop is met first; the other place is a way in.
  assert.deepEqual(graph.waysInUnder(0), [{ node: 1, below: [2] }])
  assert.ok(!graph.hasEdge(0, 2))
})

test('what is no node has no edge', () => {
  const graph = graphOf({ 0: [7, 1], 1: [] })
  assert.ok(!graph.hasEdge(0, 7) && graph.hasEdge(0, 1))
})

test('ways in are limited: heads of loops are first, and each is led to', () => {
  const size = 9
  const edges = fc.array(fc.array(fc.integer({ min: 0, max: size - 1 }), { maxLength: 3 }), {
    minLength: size,
    maxLength: size,
  })
  fc.assert(
    fc.property(edges, fc.integer({ min: 0, max: 5 }), (lists, waysInMax) => {
      const graph = buildFlowGraph(
        0,
        () => true,
        (name) => lists[name]!,
        { isWayIn: (name) => name % 2 === 1, waysInMax },
      )
      const ways = graph.nodes.flatMap((name) => graph.waysInUnder(name).map(({ node }) => node))
      const led = graph.waysInUnder(0).flatMap(({ node, below }) => [node, ...below])
      assert.deepEqual([...led].sort(), [...ways].sort())
      const heads = graph.nodes.filter((name) => name !== 0 && graph.isLoopHead(name))
      const others = graph.nodes.filter((name) => name !== 0 && name % 2 === 1 && !graph.isLoopHead(name))
      assert.ok(ways.length <= waysInMax && ways.length >= Math.min(waysInMax, heads.length + others.length))
      const entered = ways.filter((way) => heads.includes(way)).length
      assert.equal(entered, Math.min(waysInMax, heads.length))
    }),
    { numRuns: 500 },
  )
})

test('any graph can be emitted: back edges go to what dominates them, merges are where their paths can meet', () => {
  const size = 9
  const node = fc.integer({ min: 0, max: size - 1 })
  const edges = fc.array(fc.array(node, { maxLength: 3 }), { minLength: size, maxLength: size })
  fc.assert(
    fc.property(edges, (lists) => {
      const graph = graphOf(Object.fromEntries(lists.entries()))
      for (const from of graph.nodes) {
        for (const to of graph.nodes) {
          if (!graph.hasEdge(from, to)) continue
          if (graph.isBack(from, to)) assert.ok(dominates(graph, to, from), `${from} to ${to}`)
          else if (!graph.isMerge(to)) assert.ok(dominates(graph, from, to), `${from} to ${to}`)
        }
        for (const merge of graph.mergesUnder(from)) assert.ok(dominates(graph, from, merge))
        for (const { node: head, below } of graph.waysInUnder(from)) {
          assert.ok(graph.hasEdge(from, head))
          assert.ok(graph.isMerge(head), 'it has a way besides the one from outside')
          for (const inner of below) assert.ok(dominates(graph, head, inner))
        }
      }
      const merges = graph.nodes.filter((name) => graph.isMerge(name))
      const placed = graph.nodes.flatMap((name) => [...graph.mergesUnder(name)])
      assert.deepEqual([...placed].sort(), [...merges].sort())
    }),
    { numRuns: 500 },
  )
})
