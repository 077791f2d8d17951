/** Settings of the proof of work that make no sense. */
import type { Config } from '../../platform/config/schema.ts'
import type { Finding } from './finding.ts'

/** Rounds of PBKDF2 that a slow phone computes in a second. */
const PHONE_ROUNDS = 2_000_000
const MAX_PHONE_SECONDS = 20
/** Less than a tenth of a second of a phone. */
const MIN_ROUNDS = PHONE_ROUNDS / 10
/** About a twentieth of a second of a core, for each challenge that anybody asks for. */
const MAX_COST = 200_000

export function checkProofOfWork({ auth: { proofOfWork }, limits }: Config, warnings: Finding[]): void {
  const { enabled, cost, tries, loginFailures } = proofOfWork
  if (!enabled) return
  const at = ['auth', 'proofOfWork']
  const rounds = cost * tries
  const seconds = Math.round(rounds / PHONE_ROUNDS)
  if (seconds > MAX_PHONE_SECONDS)
    warnings.push({
      path: [...at, 'tries'],
      message: `a slow phone computes cost × tries = ${rounds} rounds for about ${seconds} s, and for twice as long at worst`,
      hint: `keep cost × tries below ${PHONE_ROUNDS * MAX_PHONE_SECONDS}`,
    })
  if (rounds < MIN_ROUNDS)
    warnings.push({
      path: [...at, 'tries'],
      message: `cost × tries = ${rounds} rounds cost a program almost nothing`,
      hint: `keep cost × tries above ${MIN_ROUNDS}; the default is 4000000`,
    })
  if (cost > MAX_COST)
    warnings.push({
      path: [...at, 'cost'],
      message: 'is high: the gateway computes as much for each challenge that anybody asks for',
      hint: 'lower cost, and raise tries instead',
    })
  const { address } = limits.credentials
  if (loginFailures >= address.limit && address.windowSeconds >= 600)
    warnings.push({
      path: [...at, 'loginFailures'],
      message: `has no effect: limits.credentials.address refuses logins after ${address.limit} failures`,
      hint: 'lower it',
    })
}
