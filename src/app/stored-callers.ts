/**
 * Callers of questions that only the database knows: users and tokens. Everything is read in one read-only transaction, so that a question
 * cannot change anything: no key is promoted, no use of a session or key is noted.
 */
import { createExternalReader, createPrincipalReader } from '../identity/access/authenticate.ts'
import type { InvalidTokenLimit } from '../identity/access/invalid-token-limit.ts'
import type { Principal } from '../identity/access/principal.ts'
import { createFindUser } from '../identity/admin/user-queries.ts'
import { createApiKeyAuthentication } from '../identity/api-keys/authenticate-key.ts'
import { createIssuerSelection } from '../identity/issuers/external-tokens.ts'
import { createIssuerKeys } from '../identity/issuers/issuer-keys.ts'
import { createRevocations, type Revocations } from '../identity/sessions/revocations.ts'
import { createAccessTokens } from '../identity/tokens/access-tokens.ts'
import { createKeyring } from '../identity/tokens/keyring.ts'
import { createRoles } from '../identity/users/roles.ts'
import type { User } from '../identity/users/users.repo.ts'
import type { Config } from '../platform/config/schema.ts'
import { type Db, inSnapshot } from '../platform/db/database.ts'
import { findMissingSteps } from '../platform/db/migrate.ts'
import { systemClock } from '../platform/lib/clock.ts'
import { createDatabaseClock } from '../platform/lib/database-clock.ts'
import { Problem, unavailable } from '../platform/lib/errors.ts'
import { VERSION } from '../platform/lib/version.ts'
import { looksLikeApiKey } from '../platform/request/api-key-format.ts'
import { createLogger } from '../platform/telemetry/logger.ts'
import { createMetrics } from '../platform/telemetry/metrics.ts'
import type { Secrets } from '../platform/vault/secrets.ts'
import type { Caller } from '../proxy/policy/callers.ts'

/** @param login an id, an e-mail address or a username @throws not_found @throws DatabaseUnavailable */
export const findStoredUser = (db: Db, login: string): Promise<User> =>
  inSnapshot(db, async (trx) => {
    await assertSchema(trx)
    return createFindUser(trx)(login)
  })

export interface TokenDeps {
  db: Db
  config: Config
  secrets: Secrets
}

/** The caller of an access token, also of another issuer, or of an API key. Only an issuer that signed the token is asked for its keys. Why it is refused is part of the caller. @throws WrongSecretKey, DatabaseUnavailable */
export const findTokenCaller = (token: string, { db, config, secrets }: TokenDeps): Promise<Caller> =>
  inSnapshot(db, async (trx) => {
    await assertSchema(trx)
    const logger = createLogger('silent', { write: () => {} })
    const clock = createDatabaseClock(systemClock)
    const keyring = createKeyring({ db: trx, secrets, tokens: config.tokens, logger, now: () => clock.now(), isReadOnly: true })
    const revocations = createRevocations({ db: trx, clock, logger, broadcasts: [], onKeyRevoked: keyring.forget })
    // also measures the time of the database
    await revocations.poll()
    await keyring.load()
    const metrics = createMetrics(VERSION)
    const grantsOf = createRoles(config.auth.roles)
    const keys = createApiKeyAuthentication({
      ...{ db: trx, revocations, grantsOf, config, metrics, clock },
      limitInvalidTokens: COUNTS_NOTHING,
    })
    const tokens = createAccessTokens({ keyring, tokens: config.tokens, clock })
    const issuerKeys = createIssuerKeys({ clock, logger, metrics })
    const issuer = createIssuerSelection(config, { keys: issuerKeys, clock })?.(token)

    async function identify(): Promise<Principal> {
      if (looksLikeApiKey(token)) return (await keys.inspect(token)).principal
      if (issuer) {
        const { identity } = await issuer.verify(token)
        if (revocations.isBlocked(identity.blocks)) throw new Problem('token_revoked')
        return createExternalReader(config)(identity)
      }
      const { claims, key } = await tokens.verify(token)
      assertNotRevoked(revocations, claims)
      return createPrincipalReader(config)(claims, key.kid)
    }

    try {
      return { principal: await identify(), refusal: null }
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error
      return { principal: null, refusal: error.code }
    } finally {
      issuerKeys.close()
    }
  })

function assertNotRevoked(revocations: Revocations, { sid, sub, ver }: { sid: string; sub: string; ver: number }): void {
  if (revocations.isRevoked(sid, sub, ver)) throw new Problem('token_revoked')
}

/** `inspect` asks no limit: a question costs nobody an attempt. */
const COUNTS_NOTHING: InvalidTokenLimit = {
  check: (_, work) => work(),
  refuse: async (_, problem) => {
    throw problem
  },
}

/** A question never migrates. */
async function assertSchema(db: Db): Promise<void> {
  const missing = await findMissingSteps(db)
  if (missing.length > 0) throw unavailable(`the database lacks the steps ${missing.join(', ')}: run portcullis migrate up`)
}
