/** Exchange a refresh token for its successor and a fresh access token. */
import type { RequestOrigin } from '../audit/audit.ts'
import { Problem, problem } from '../errors.ts'
import type { ClientOrigin } from '../http/networks.ts'
import type { Logger } from '../logger.ts'
import type { Metrics } from '../metrics.ts'
import type { SessionOpening, TokenPair } from '../sessions/opening.ts'
import type { Revocations } from '../sessions/revocations.ts'
import type { RefreshTokens } from '../tokens/refresh-tokens.ts'
import type { CredentialLimits } from './credential-limits.ts'

export interface RefreshDeps {
  refreshTokens: RefreshTokens
  opening: SessionOpening
  revocations: Revocations
  limits: CredentialLimits
  metrics: Metrics
  logger: Logger
}

const REFUSAL = {
  unknown: 'refresh_invalid',
  revoked: 'refresh_invalid',
  expired: 'refresh_expired',
  superseded: 'refresh_superseded',
  reused: 'refresh_reused',
} as const

export function createRefresh({ refreshTokens, opening, revocations, limits, metrics, logger }: RefreshDeps) {
  async function refresh(presented: string, origin: RequestOrigin): Promise<TokenPair> {
    const result = await refreshTokens.rotate(presented, origin)
    metrics.refreshes.inc({ outcome: result.outcome })
    if (result.outcome === 'rotated' || result.outcome === 'repeated') {
      return opening.pair(result.user, result.session, result.refreshToken)
    }
    if (result.outcome === 'reused') {
      await revocations.announce(result.revocation)
      const line = { reason: 'refresh_reused', request_id: origin.requestId }
      logger.warn(line, 'a used refresh token was presented again: its session is ended')
    }
    throw problem(REFUSAL[result.outcome], { cause: `refresh token ${result.outcome}` })
  }

  return (presented: string, client: ClientOrigin, origin: RequestOrigin): Promise<TokenPair> =>
    limits
      .refresh(client, () => refresh(presented, origin))
      .catch((error) => {
        if (error instanceof Problem && error.code === 'rate_limited') metrics.refreshes.inc({ outcome: error.code })
        throw error
      })
}
