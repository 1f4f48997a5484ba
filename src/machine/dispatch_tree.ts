/**
 * The tree of comparisons by which the interpreter finds a handler: Huffman's, so that frequent handlers are near.
 *
 * Handlers are numbered in the order of the leaves; then each fork is one comparison of the number with a constant. All
 * cold handlers together are one leaf, the leftmost, so that they have the lowest numbers. Why not one indirect jump:
 * docs/decisions/0001-br-table-interpreter.md.
 */
import { assert } from '../base/assert.ts'

/** A leaf has a handler's name, or stands for all cold ones. */
export type DispatchTree =
  | { readonly kind: 'cold' }
  | { readonly kind: 'hot'; readonly name: string }
  | { readonly kind: 'fork'; readonly left: DispatchTree; readonly right: DispatchTree }

interface Weighted {
  readonly share: number
  readonly isCold: boolean
  readonly tree: DispatchTree
}

/** The tree for handlers with these shares of all dispatches; what is missing up to `total` is the cold ones' share. */
export function buildDispatchTree(shares: ReadonlyMap<string, number>, total: number): DispatchTree {
  const hot = [...shares].map(
    ([name, share]): Weighted => ({ share, isCold: false, tree: { kind: 'hot', name } }),
  )
  const coldShare = hot.reduce((rest, { share }) => rest - share, total)
  assert(coldShare > 0, 'the shares of hot handlers leave nothing for the others')
  const trees: Weighted[] = [...hot, { share: coldShare, isCold: true, tree: { kind: 'cold' } }]
  while (trees.length > 1) {
    const first = takeLightest(trees)
    trees.push(join(first, takeLightest(trees)))
  }
  return trees[0]!.tree
}

function takeLightest(trees: Weighted[]): Weighted {
  const least = Math.min(...trees.map(({ share }) => share))
  const index = trees.findIndex(({ share }) => share === least)
  return trees.splice(index, 1)[0]!
}

/** The heavier one is on the right, unless one has the cold leaf. */
function join(lighter: Weighted, heavier: Weighted): Weighted {
  const [left, right] = heavier.isCold ? [heavier, lighter] : [lighter, heavier]
  return {
    share: left.share + right.share,
    isCold: left.isCold,
    tree: { kind: 'fork', left: left.tree, right: right.tree },
  }
}

/** The names at the leaves from left to right, without the cold leaf, which is the first. */
export function leavesOf(tree: DispatchTree): string[] {
  if (tree.kind === 'fork') return [...leavesOf(tree.left), ...leavesOf(tree.right)]
  return tree.kind === 'hot' ? [tree.name] : []
}
