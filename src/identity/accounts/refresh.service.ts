/** Exchanges a refresh token for its successor and a new access token. */

import type { AuditContext } from '../../platform/audit/audit.ts'
import { type ErrorCode, Problem, problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { SessionOpener, TokenPair } from '../sessions/open-session.ts'
import type { RefreshTokens } from '../sessions/refresh-tokens.ts'

export interface RefreshDeps {
  refreshTokens: RefreshTokens
  sessionOpener: SessionOpener
  limits: CredentialLimits
  metrics: Metrics
}

const REFUSAL = {
  unknown: 'refresh_invalid',
  revoked: 'refresh_invalid',
  expired: 'refresh_expired',
  superseded: 'refresh_superseded',
  reused: 'refresh_reused',
} as const

const COUNTED: readonly ErrorCode[] = ['rate_limited', 'identity_too_large']

export function createRefresh({ refreshTokens, sessionOpener, limits, metrics }: RefreshDeps) {
  async function refresh(presented: string, context: AuditContext): Promise<TokenPair> {
    const result = await refreshTokens.rotate(presented, context, sessionOpener.pair)
    if (result.outcome === 'reused') refreshTokens.report('reused', context)
    else metrics.refreshes.inc({ outcome: result.outcome })
    if (result.outcome === 'rotated' || result.outcome === 'repeated') return result.pair
    throw problem(REFUSAL[result.outcome], { cause: `refresh token ${result.outcome}` })
  }

  const withinLimits = (presented: string, context: RequestContext): Promise<TokenPair> =>
    limits
      .refresh(context.client, () => refresh(presented, context))
      .catch((error) => {
        // the refresh token stays as it was
        if (error instanceof Problem && COUNTED.includes(error.code)) metrics.refreshes.inc({ outcome: error.code })
        throw error
      })

  /** @param hasLeft the client has closed its connection. Nobody else can tell whether it got the answer */
  return async (presented: string, context: RequestContext, hasLeft: () => boolean): Promise<TokenPair> => {
    const pair = await withinLimits(presented, context)
    // the answer is made: a failure here only leaves the usual time for a retry
    if (hasLeft()) await refreshTokens.undelivered(presented).catch(() => {})
    return pair
  }
}
