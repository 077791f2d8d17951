import type { Config } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { createFailureBudget, type FailureBudget } from '../../platform/limits/failure-budget.ts'
import type { Limiter } from '../../platform/limits/limiter.ts'

/** Counts invalid tokens and API keys by client address. */
export type InvalidTokenLimit = FailureBudget

export const createInvalidTokenLimit = (
  deps: { limiter: Limiter; clock: Clock },
  { token }: Config['limits']['credentials'],
): InvalidTokenLimit =>
  createFailureBudget(deps, {
    limit: { name: 'token', scope: 'credential', ...token },
    failures: ['token_invalid', 'mfa_token_invalid'],
    fallback: { kind: 'local' },
  })
