/** A client that solves challenges. */
import { solveChallenge } from 'altcha-lib'
import { deriveKey } from 'altcha-lib/algorithms/pbkdf2'
import type { Action, Challenge } from '../../src/identity/credentials/proof-of-work.ts'
import { call } from './client.ts'

/** Quickly solved. */
export const EASY = { enabled: true, cost: 1000, tries: 2 }

export const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64')

/** The solution as ALTCHA encodes it. */
export async function solved(challenge: Challenge): Promise<string> {
  return encode({ challenge, solution: await solveChallenge({ challenge, deriveKey }) })
}

/** Asks for a challenge, and solves it. */
export async function solutionFor(gateway: { url: string }, action: Action): Promise<string> {
  const { status, body } = await call<Challenge>(gateway, `/auth/challenge?for=${action}`)
  if (status !== 200) throw new Error(`the challenge was answered ${status}: ${JSON.stringify(body)}`)
  return solved(body)
}
