import type { Config } from '../../platform/config/schema.ts'

/** A session that is not used for this time has ended: no refresh, and no request by cookie. */
export const idleTtlSeconds = ({
  tokens,
  auth,
}: {
  tokens: Pick<Config['tokens'], 'refreshTtlSeconds'>
  auth: Pick<Config['auth'], 'sessions'>
}): number => Math.min(tokens.refreshTtlSeconds, auth.sessions.idleTtlSeconds ?? Number.POSITIVE_INFINITY)
