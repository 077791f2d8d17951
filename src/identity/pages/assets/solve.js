// Solves a challenge with the solver of ALTCHA. WebCrypto computes beside the page, so that the page stays usable.
import { deriveKey } from './algorithms/web/pbkdf2.js'
import { solveChallenge } from './pow.js'

const MAX_LANES = 4
// shorter than the life of a challenge
const TIMEOUT_MS = 240_000

/** @param url of the challenge. @returns the solution for the field `proof_of_work` */
export async function solve(url) {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`the challenge was answered ${response.status}`)
  const challenge = await response.json()
  const controller = new AbortController()
  const lanes = Math.min(MAX_LANES, navigator.hardwareConcurrency || 1)
  const solving = Array.from({ length: lanes }, (_, i) =>
    solveChallenge({ challenge, deriveKey, controller, counterStart: i, counterStep: lanes, timeout: TIMEOUT_MS }),
  )
  const solution = await Promise.race(solving).finally(() => controller.abort())
  if (!solution) throw new Error('there was no solution in time')
  return btoa(JSON.stringify({ challenge, solution }))
}
