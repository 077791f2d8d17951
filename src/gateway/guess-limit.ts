import type { Config } from '../config/schema.ts'
import { Problem, problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import { type Limit, type Limiter, limitHeaders } from '../limits/limiter.ts'

/** Tokens and keys that turn out to be none are counted by address; once there are too many, no more is verified. @throws rate_limited */
export type GuessLimit = <T>(client: ClientOrigin, verify: () => Promise<T>) => Promise<T>

const LOCAL = { kind: 'local' } as const

export function createGuessLimit(limiter: Limiter, { token }: Config['limits']['credentials']): GuessLimit {
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
