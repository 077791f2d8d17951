/** RFC 6962 §2.1: the tree hash of a list, computed without keeping the list in memory. */
import { hash } from 'node:crypto'

const sha256 = (data: string | Uint8Array): Buffer => hash('sha256', data, 'buffer')
// the prefixes keep a leaf from passing as a node
const leafHash = (leaf: string) => sha256(`\0${leaf}`)
const NODE = Uint8Array.of(1)
const nodeHash = (left: Uint8Array, right: Uint8Array) => sha256(Buffer.concat([NODE, left, right]))

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
      let subtree = { size: 1, hash: leafHash(leaf) }
      while (full.at(-1)?.size === subtree.size) subtree = { size: subtree.size * 2, hash: nodeHash(full.pop()!.hash, subtree.hash) }
      full.push(subtree)
    },
    root: () => (full.length ? full.map((s) => s.hash).reduceRight((right, left) => nodeHash(left, right)) : sha256('')).toString('hex'),
  }
}

export function rootOf(leaves: Iterable<string>): string {
  const tree = createMerkleTree()
  for (const leaf of leaves) tree.add(leaf)
  return tree.root()
}
