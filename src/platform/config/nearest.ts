/** Finds the known word that is closest by edit distance, and at most a third of its length away. Undefined when none is close. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const scored = known.map((k) => [k, editDistance(word.toLowerCase(), k.toLowerCase())] as const).sort((a, b) => a[1] - b[1])
  const best = scored[0]
  return best && best[1] <= Math.max(1, Math.ceil(best[0].length / 3)) ? best[0] : undefined
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1])))
    row = next
  }
  return row[b.length]!
}
