/** Chance that can be repeated: the same seed and number give the same case again. And marks that tell whose bytes these are. */
export interface Random {
  below(n: number): number
  pick<T>(list: readonly T[]): T
  /** Any bytes. Latin-1. */
  bytes(n: number): string
}

/** mulberry32: small, and good enough to choose by. */
export function randomOf(seed: number, index: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return {
    below,
    pick: (list) => list[below(list.length)]!,
    bytes: (n) => String.fromCharCode(...Array.from({ length: n }, () => below(256))),
  }
}

const check = (n: number) => (Math.imul(n + 1, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0')

/** `m12x0a1b2c3d`: one with a byte changed by chance is none. */
export const markOf = (n: number): string => `m${n}x${check(n)}`

/** Marks in a text that are another's. */
export const strangers = (text: string, mine: string): string[] =>
  [...text.matchAll(/m(\d+)x([0-9a-f]{8})/g)].filter(([mark, n, sum]) => mark !== mine && sum === check(Number(n))).map(([mark]) => mark)

/** Runs `count` cases, `width` of them at a time. */
export async function inParallel(count: number, width: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await run(next++)
  }
  await Promise.all(Array.from({ length: width }, worker))
}
