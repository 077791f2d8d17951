import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rootOf } from '../../../src/platform/audit/merkle.ts'

const sha = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest()

/** RFC 6962 §2.1, word for word. */
function treeHash(leaves: string[]): Buffer {
  if (leaves.length === 0) return sha()
  if (leaves.length === 1) return sha(Buffer.of(0), Buffer.from(leaves[0]!))
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return sha(Buffer.of(1), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)))
}

describe('the tree hash', () => {
  it('is that of RFC 6962 §2.1, for any list', () => {
    fc.assert(fc.property(fc.array(fc.string(), { maxLength: 70 }), (leaves) => rootOf(leaves) === treeHash(leaves).toString('hex')))
  })

  it('of nothing is the hash of nothing', () => {
    expect(rootOf([])).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })

  it('differs when a leaf is changed, removed, added, repeated or moved', () => {
    const list = fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 40 })
    fc.assert(
      fc.property(list, fc.nat(), fc.nat(), (leaves, a, b) => {
        const [i, j] = [a % leaves.length, b % leaves.length]
        const root = rootOf(leaves)
        const others = [
          leaves.with(i, `${leaves[i]}!`),
          leaves.toSpliced(i, 1),
          leaves.toSpliced(i, 0, 'more'),
          [...leaves, leaves.at(-1)!],
          ...(i === j ? [] : [leaves.with(i, leaves[j]!).with(j, leaves[i]!)]),
        ]
        for (const other of others) expect(rootOf(other)).not.toBe(root)
      }),
    )
  })
})
