import type { Config } from '../../platform/config/schema.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { type Limit, type Limiter, limitHeaders } from '../../platform/limits/limiter.ts'
import type { Client } from '../../platform/request/client-address.ts'

/** Counts invalid tokens and API keys by client address. Above the limit, no further token is verified. @throws rate_limited */
export type InvalidTokenLimit = <T>(client: Client, verify: () => Promise<T>) => Promise<T>

const LOCAL = { kind: 'local' } as const

export function createInvalidTokenLimit(limiter: Limiter, { token }: Config['limits']['credentials']): InvalidTokenLimit {
  const limit: Limit = { name: 'token', scope: 'credential', ...token }
  return async ({ isExempt, limitKey }, verify) => {
    if (isExempt) return verify()
    const left = await limiter.peek(limit, limitKey, LOCAL)
    if (!left.isAllowed) throw problem('rate_limited', { cause: 'too many invalid tokens', headers: limitHeaders([left]) })
    try {
      return await verify()
    } catch (error) {
      if (error instanceof Problem && error.code === 'token_invalid') await limiter.consume(limit, limitKey, LOCAL)
      throw error
    }
  }
}
