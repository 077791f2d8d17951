/** RFC 6962 §2.1: the tree hash of a list, computed without keeping the list in memory. */
import { createHash } from 'node:crypto'

const hash = (...parts: (Uint8Array | string)[]): Buffer => parts.reduce((h, part) => h.update(part), createHash('sha256')).digest()
// the prefixes keep a leaf from passing as a node
const LEAF = Uint8Array.of(0)
const NODE = Uint8Array.of(1)

export interface MerkleTree {
  add(leaf: string): void
  /** Hex. Without leaves: the hash of the empty string. */
  root(): string
}

/** Keeps one hash for each power of two in the number of leaves. */
export function createMerkleTree(): MerkleTree {
  const full: { size: number; hash: Buffer }[] = []
  return {
    add(leaf) {
      let subtree = { size: 1, hash: hash(LEAF, leaf) }
      while (full.at(-1)?.size === subtree.size) subtree = { size: subtree.size * 2, hash: hash(NODE, full.pop()!.hash, subtree.hash) }
      full.push(subtree)
    },
    root: () => (full.length ? full.map((s) => s.hash).reduceRight((right, left) => hash(NODE, left, right)) : hash()).toString('hex'),
  }
}

export function rootOf(leaves: Iterable<string>): string {
  const tree = createMerkleTree()
  for (const leaf of leaves) tree.add(leaf)
  return tree.root()
}
