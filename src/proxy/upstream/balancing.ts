/** The ways to choose a server among those of a route that may get the next request. */
import type { Bulkhead } from './bulkhead.ts'

export interface Candidate {
  weight: number
  /** Smooth weighted round robin: each turn adds the weight; the chosen server pays the total. */
  credit: number
  bulkhead: Pick<Bulkhead, 'load'>
}

/** Weighted round robin. Null without a candidate. */
export function takeTurn<C extends Candidate>(candidates: readonly C[]): C | null {
  let total = 0
  let chosen: C | null = null
  for (const candidate of candidates) {
    candidate.credit += candidate.weight
    total += candidate.weight
    if (!chosen || candidate.credit > chosen.credit) chosen = candidate
  }
  if (chosen) chosen.credit -= total
  return chosen
}

/** The candidates with the fewest requests, relative to their weights. */
export function leastBusy<C extends Candidate>(candidates: readonly C[]): C[] {
  const loadOf = ({ bulkhead, weight }: C) => bulkhead.load() / weight
  const least = Math.min(...candidates.map(loadOf))
  return candidates.filter((candidate) => loadOf(candidate) === least)
}

/**
 * Weighted rendezvous hashing (Thaler and Ravishankar 1998): each server has a score for each client, and the highest score wins. A server
 * that is added or removed moves only the clients that it wins or held.
 * @param digestOf a hash of the client and the server, at least 6 bytes
 */
export function highestScore<C extends { weight: number }>(candidates: readonly C[], digestOf: (candidate: C) => Buffer): C | null {
  let chosen: C | null = null
  let highest = 0
  for (const candidate of candidates) {
    // between 0 and 1, without the ends: the logarithm is finite and not zero
    const unit = (digestOf(candidate).readUIntBE(0, 6) + 0.5) / 2 ** 48
    const score = candidate.weight / -Math.log(unit)
    if (!chosen || score > highest) {
      chosen = candidate
      highest = score
    }
  }
  return chosen
}
