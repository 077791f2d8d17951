/**
 * Callers of questions that only the database knows: users and tokens. They are read in a read-only transaction, so that a question cannot
 * change anything: no key is promoted, no use of a session or key is noted.
 */
import { createExternalReader, createPrincipalReader } from '../identity/access/authenticate.ts'
import type { InvalidTokenLimit } from '../identity/access/invalid-token-limit.ts'
import type { Principal } from '../identity/access/principal.ts'
import { createFindUser } from '../identity/admin/user-queries.ts'
import { createApiKeyAuthentication } from '../identity/api-keys/authenticate-key.ts'
import { createIssuerSelection, type ExternalIssuer } from '../identity/issuers/external-tokens.ts'
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

/**
 * @param logins ids, e-mail addresses or usernames
 * @returns the users by login, without those who do not exist @throws DatabaseUnavailable
 */
export const findStoredUsers = (db: Db, logins: readonly string[]): Promise<Map<string, User>> =>
  inSnapshot(db, async (trx) => {
    await assertSchema(trx)
    const find = createFindUser(trx)
    const users = new Map<string, User>()
    for (const login of new Set(logins)) {
      const user = await find(login).catch((error) => {
        if (error instanceof Problem && error.code === 'not_found') return null
        throw error
      })
      if (user) users.set(login, user)
    }
    return users
  })

export interface TokenDeps {
  db: Db
  config: Config
  secrets: Secrets
}

/**
 * The caller of an access token, also of another issuer, or of an API key. Why it is refused is part of the caller.
 * @throws WrongSecretKey, DatabaseUnavailable; issuer_unavailable while the issuer that signed the token does not give its keys
 */
export async function findTokenCaller(token: string, deps: TokenDeps): Promise<Caller> {
  const logger = createLogger('silent', { write: () => {} })
  const clock = createDatabaseClock(systemClock)
  const metrics = createMetrics(VERSION)
  const issuerKeys = createIssuerKeys({ clock, logger, metrics })
  /** The issuer is asked after the transaction: the embedded database has one connection, and others wait for it. */
  async function identifyExternal(token: string, issuer: ExternalIssuer): Promise<Principal> {
    const revocations = await inSnapshot(deps.db, async (trx) => {
      await assertSchema(trx)
      return readRevocations(trx)
    })
    const { identity } = await issuer.verify(token)
    if (revocations.isBlocked(identity.blocks)) throw new Problem('token_revoked')
    return createExternalReader(deps.config)(identity)
  }

  const identifyOwn = (token: string): Promise<Principal> =>
    inSnapshot(deps.db, async (trx) => {
      const { config, secrets } = deps
      await assertSchema(trx)
      const keyring = createKeyring({ db: trx, secrets, tokens: config.tokens, logger, now: () => clock.now(), isReadOnly: true })
      const revocations = await readRevocations(trx, keyring.forget)
      await keyring.load()
      const grantsOf = createRoles(config.auth.roles)
      const keys = createApiKeyAuthentication({
        ...{ db: trx, revocations, grantsOf, config, metrics, clock },
        limitInvalidTokens: COUNTS_NOTHING,
      })
      if (looksLikeApiKey(token)) return (await keys.inspect(token)).principal
      const { claims, key } = await createAccessTokens({ keyring, tokens: config.tokens, clock }).verify(token)
      assertNotRevoked(revocations, claims)
      return createPrincipalReader(config)(claims, key.kid)
    })

  /** Also measures the time of the database. */
  async function readRevocations(db: Db, onKeyRevoked: (kid: string) => void = () => {}): Promise<Revocations> {
    const revocations = createRevocations({ db, clock, logger, broadcasts: [], onKeyRevoked })
    await revocations.poll()
    return revocations
  }

  try {
    const issuer = createIssuerSelection(deps.config, { keys: issuerKeys, clock })?.(token)
    const principal = issuer ? await identifyExternal(token, issuer) : await identifyOwn(token)
    return { principal, refusal: null }
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error
    return { principal: null, refusal: error.code }
  } finally {
    issuerKeys.close()
  }
}

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
