/**
 * From a graph of blocks to nested blocks and loops, as WebAssembly wants it: by the dominator tree, after Ramsey, "Beyond
 * Relooper" (ICFP 2022).
 *
 * A loop has one head: the graph is made reducible by taking out the edges that enter a loop elsewhere. Whoever emits code leaves
 * the region there, and comes in again by the head.
 *
 * A region can be entered at the head of each of its loops, and at other nodes that are named. The way there leads through
 * the heads of the loops around it, by edges that are added for it. Only what can be entered has such a way: each costs code at
 * every head that it leads by.
 */
import { assert } from '../../base/assert.ts'

/** The graph; nodes are known by their names, the first one is the entry. */
export interface FlowGraph {
  /** In reverse postorder. */
  readonly nodes: readonly number[]
  nextOf(from: number): readonly number[]
  hasEdge(from: number, to: number): boolean
  /** Whether an edge, which is in the graph, goes back to a loop's head. */
  isBack(from: number, to: number): boolean
  isLoopHead(node: number): boolean
  /** Whether several edges go there that are not back edges: it is emitted behind a block that they leave. */
  isMerge(node: number): boolean
  /** The merge nodes that a node immediately dominates, the last one in reverse postorder first. */
  mergesUnder(node: number): readonly number[]
  /** The nodes to which the way from outside leads by this node. There is an edge to each of them. */
  waysInUnder(node: number): readonly WayIn[]
}

/** A node at which the graph can be entered, and those to which the way leads by it. */
export interface WayIn {
  readonly node: number
  readonly below: readonly number[]
}

/** Where edges go from each node. */
type Edges = Map<number, readonly number[]>

/**
 * Builds the graph of all that can be reached from `entry`, which can also be entered at its loops' heads, where loops were entered
 * elsewhere, and at the nodes of which `isWayIn` says so, as far as there are no more than `waysInMax`. `successorsOf` may name
 * what is no node.
 */
export function buildFlowGraph(
  entry: number,
  isNode: (name: number) => boolean,
  successorsOf: (name: number) => readonly number[],
  { isWayIn, waysInMax }: WaysIn = { isWayIn: () => false, waysInMax: Number.POSITIVE_INFINITY },
): FlowGraph {
  const edges = findEdges(entry, (from) => successorsOf(from).filter(isNode))
  const cut = makeReducible(entry, edges)
  const graph = new Graph(entry, edges)
  const heads = graph.nodes.filter((node) => graph.isLoopHead(node) && node !== entry)
  const others = graph.nodes.filter((node) => (isWayIn(node) || cut.has(node)) && !graph.isLoopHead(node))
  // Heads are first, and the outer ones before those within: the way to what is in a loop leads by its head, which is a target then.
  const targets = [...heads, ...others].slice(0, waysInMax)
  const paths = findWaysIn(graph, new Set(targets))
  for (const [from, ways] of paths) {
    // An edge that is there already is there twice then, so that the node counts as a merge, and is emitted once.
    edges.set(from, [...edges.get(from)!, ...ways.map(({ node }) => node)])
  }
  return new Graph(entry, edges, paths)
}

export interface WaysIn {
  /** Of nodes that are no heads of loops: those come first. */
  readonly isWayIn: (node: number) => boolean
  /** Beside the entry. */
  readonly waysInMax: number
}

function findEdges(entry: number, next: (from: number) => readonly number[]): Edges {
  const edges: Edges = new Map()
  const found = [entry]
  for (const from of found) {
    if (edges.has(from)) continue
    const list = next(from)
    edges.set(from, list)
    found.push(...list)
  }
  return edges
}

/**
 * Takes out the edges that enter a loop anywhere but at its head: they are taken once for all its rounds. Its head is the first
 * place, in reverse postorder, at which it is entered. Returns where the edges go.
 */
function makeReducible(entry: number, edges: Edges): Set<number> {
  const cut = new Set<number>()
  const ordered = inOrder(entry, edges)
  if (isReducible(ordered, edges)) return cut
  const { order } = ordered
  const left: { readonly nodes: ReadonlySet<number>; readonly around: readonly number[] }[] = [
    { nodes: new Set(order), around: order },
  ]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { nodes, around } = next
    for (const loop of findLoops(nodes, edges)) {
      const outside = around.filter((node) => !loop.has(node))
      const entered = new Set(outside.flatMap((from) => edges.get(from)!).filter((to) => loop.has(to)))
      const head = around.find((node) => entered.has(node)) ?? around.find((node) => loop.has(node))!
      for (const from of outside) {
        const list = edges.get(from)!
        const kept = list.filter((to) => to === head || !loop.has(to))
        for (const to of list) if (!kept.includes(to)) cut.add(to)
        edges.set(from, kept)
      }
      // The loops within it, which do not lead by its head. What is farther out comes in by that only.
      const inside = around.filter((node) => loop.has(node))
      left.push({ nodes: new Set(inside.filter((node) => node !== head)), around: inside })
    }
  }
  return cut
}

/** Whether every edge that goes back goes to what dominates its origin. */
function isReducible({ order, place, dominators }: Ordered, edges: Edges): boolean {
  return order.every((from, index) =>
    edges.get(from)!.every((to) => place.get(to)! > index || dominates(dominators, place.get(to)!, index)),
  )
}

/** The largest sets of nodes that lead to each other, by Tarjan's algorithm. */
function findLoops(nodes: ReadonlySet<number>, edges: Edges): Set<number>[] {
  const loops: Set<number>[] = []
  const found = new Map<number, number>()
  const low = new Map<number, number>()
  const stack: number[] = []
  const onStack = new Set<number>()
  const visit = (node: number): void => {
    const index = found.size
    found.set(node, index)
    low.set(node, index)
    stack.push(node)
    onStack.add(node)
    for (const to of edges.get(node)!) {
      if (!nodes.has(to)) continue
      if (!found.has(to)) visit(to)
      if (onStack.has(to)) low.set(node, Math.min(low.get(node)!, low.get(to)!))
    }
    if (low.get(node) !== index) return
    const loop = new Set(stack.splice(stack.indexOf(node)))
    for (const one of loop) onStack.delete(one)
    if (loop.size > 1 || edges.get(node)!.includes(node)) loops.push(loop)
  }
  for (const node of nodes) if (!found.has(node)) visit(node)
  return loops
}

/** How the targets are reached; the heads of the loops around each are targets as well. */
function findWaysIn(graph: Graph, targets: ReadonlySet<number>): Map<number, WayIn[]> {
  const paths = new Map<number, WayIn[]>()
  for (let index = graph.nodes.length - 1; index > 0; index--) {
    const node = graph.nodes[index]!
    if (!targets.has(node)) continue
    const below = (paths.get(node) ?? []).flatMap((path) => [path.node, ...path.below])
    const above = graph.headAbove(index)
    assert(above === graph.nodes[0] || targets.has(above), 'no way leads to a way in')
    paths.set(above, [...(paths.get(above) ?? []), { node, below }])
  }
  return paths
}

class Graph implements FlowGraph {
  readonly nodes: readonly number[]
  readonly #place: ReadonlyMap<number, number>
  readonly #dominators: readonly number[]
  readonly #edges: Edges
  readonly #paths: ReadonlyMap<number, readonly WayIn[]>
  readonly #forwardEdges: number[]
  readonly #isHead: boolean[]
  readonly #merges: number[][]

  constructor(entry: number, edges: Edges, paths: ReadonlyMap<number, readonly WayIn[]> = new Map()) {
    const { order, place, dominators } = inOrder(entry, edges)
    this.nodes = order
    this.#place = place
    this.#dominators = dominators
    this.#edges = edges
    this.#paths = paths
    this.#forwardEdges = order.map(() => 0)
    this.#isHead = order.map(() => false)
    this.#merges = order.map(() => [])
    for (const from of order) {
      for (const to of edges.get(from)!) {
        const index = place.get(to)!
        if (this.isBack(from, to)) this.#isHead[index] = true
        else this.#forwardEdges[index]!++
      }
    }
    for (let index = order.length - 1; index > 0; index--) {
      if (this.#forwardEdges[index]! > 1) this.#merges[dominators[index]!]!.push(order[index]!)
    }
  }

  nextOf(from: number): readonly number[] {
    return this.#edges.get(from)!
  }

  hasEdge(from: number, to: number): boolean {
    return this.#edges.get(from)!.includes(to)
  }

  isBack(from: number, to: number): boolean {
    return this.#place.get(to)! <= this.#place.get(from)!
  }

  isLoopHead(node: number): boolean {
    return this.#isHead[this.#place.get(node)!]!
  }

  isMerge(node: number): boolean {
    return this.#forwardEdges[this.#place.get(node)!]! > 1
  }

  mergesUnder(node: number): readonly number[] {
    return this.#merges[this.#place.get(node)!]!
  }

  waysInUnder(node: number): readonly WayIn[] {
    return this.#paths.get(node) ?? []
  }

  /** The nearest head of a loop above the node at a place in the dominator tree, or the entry. */
  headAbove(index: number): number {
    let above = this.#dominators[index]!
    while (above > 0 && !this.#isHead[above]) above = this.#dominators[above]!
    return this.nodes[above]!
  }
}

interface Ordered {
  /** Reverse postorder. */
  readonly order: readonly number[]
  readonly place: ReadonlyMap<number, number>
  /** By places: the place of each one's immediate dominator. */
  readonly dominators: readonly number[]
}

function inOrder(entry: number, edges: Edges): Ordered {
  const order = reversePostorder(entry, edges)
  const place = new Map(order.map((name, index) => [name, index]))
  return { order, place, dominators: immediateDominators(order, place, edges) }
}

function reversePostorder(entry: number, edges: Edges): number[] {
  const seen = new Set([entry])
  const order: number[] = []
  const path: { readonly name: number; readonly left: number[] }[] = [
    { name: entry, left: edges.get(entry)!.toReversed() },
  ]
  for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
    const to = top.left.pop()
    if (to === undefined) {
      order.push(top.name)
      path.pop()
    } else if (!seen.has(to)) {
      seen.add(to)
      path.push({ name: to, left: edges.get(to)!.toReversed() })
    }
  }
  return order.reverse()
}

/** After Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm". */
function immediateDominators(
  order: readonly number[],
  place: ReadonlyMap<number, number>,
  edges: Edges,
): number[] {
  const before: number[][] = order.map(() => [])
  for (const [index, from] of order.entries())
    for (const to of edges.get(from)!) before[place.get(to)!]!.push(index)
  const dominator: number[] = order.map((_, index) => (index === 0 ? 0 : -1))
  const meet = (one: number, other: number): number => {
    let [left, right] = [one, other]
    while (left !== right) {
      if (left > right) left = dominator[left]!
      else right = dominator[right]!
    }
    return left
  }
  for (let isChanged = true; isChanged; ) {
    isChanged = false
    for (let index = 1; index < order.length; index++) {
      const found = before[index]!.filter((from) => dominator[from]! >= 0).reduce(meet)
      if (found === dominator[index]) continue
      dominator[index] = found
      isChanged = true
    }
  }
  return dominator
}

function dominates(dominators: readonly number[], one: number, other: number): boolean {
  let node = other
  while (node > one) node = dominators[node]!
  return node === one
}
