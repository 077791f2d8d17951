/** Callers of questions: principals that were not authenticated by a request. */
import { createIdentityHeaders } from '../../identity/access/identity-headers.ts'
import type { Principal } from '../../identity/access/principal.ts'
import { createMetadataClaims, NO_CLAIMS } from '../../identity/tokens/metadata-claims.ts'
import { createRoles, knownRoles } from '../../identity/users/roles.ts'
import type { User } from '../../identity/users/users.repo.ts'
import { nearest } from '../../platform/config/nearest.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { ErrorCode } from '../../platform/lib/errors.ts'

export interface Caller {
  /** Null: the request has no credential. */
  principal: Principal | null
  /** Why the credential itself is refused. Null: it is good. */
  refusal: ErrorCode | null
}

export const ANONYMOUS: Caller = { principal: null, refusal: null }

/** How the session of the caller began. */
export interface Login {
  /** A second factor was used. */
  hasFactor: boolean
  /** Seconds since the epoch. */
  authenticatedAt: number
}

export interface CallerFacts extends Login {
  /** The roles that were granted. Inherited roles and scopes are added. */
  roles: readonly string[]
  mustChangePassword?: boolean
  /** The account, where there is one. */
  user?: Pick<User, 'id' | 'email' | 'email_verified_at' | 'metadata'>
}

/** What an account says about a login of its user. */
export type CallerUser = Pick<
  User,
  'id' | 'email' | 'email_verified_at' | 'metadata' | 'roles' | 'disabled_at' | 'password_must_change' | 'mfa_enabled'
>

export interface Callers {
  /** The principal that a login of such a user would give. */
  of(facts: CallerFacts): Caller
  /**
   * A disabled user has no session: whatever the client still holds was revoked.
   * @param login `hasFactor` undefined: a user with a second factor has used it
   */
  ofUser(user: CallerUser, login: Omit<Login, 'hasFactor'> & { hasFactor?: boolean | undefined }): Caller
}

/** Stands in headers for a value that only a real session has. */
const UNKNOWN_ID = '<id>'
const UNKNOWN_SESSION = '<session>'

export function createCallers(config: Config): Callers {
  const grantsOf = createRoles(config.auth.roles)
  const rolesWithFactor = config.auth.mfa.requiredForRoles
  const identityHeaders = createIdentityHeaders(config)
  const metadataClaims = createMetadataClaims(config.tokens.claims)

  function of({ roles: granted, hasFactor, mustChangePassword = false, authenticatedAt, user }: CallerFacts): Caller {
    const { roles, scopes } = grantsOf(granted)
    const principal: Principal = {
      kind: 'user',
      id: user?.id ?? UNKNOWN_ID,
      sessionId: UNKNOWN_SESSION,
      email: user?.email ?? null,
      roles: new Set(roles),
      scopes: new Set(scopes),
      cookieId: null,
      external: null,
      signingKid: null,
      epoch: 0,
      expiresAt: Number.POSITIVE_INFINITY,
      mustChangePassword,
      hasFactor,
      owesFactor: !hasFactor && rolesWithFactor.some((role) => roles.includes(role)),
      authenticatedAt,
      identityHeaders: identityHeaders({
        id: user?.id ?? UNKNOWN_ID,
        email: user?.email ?? null,
        isEmailVerified: Boolean(user?.email_verified_at),
        roles,
        sessionId: UNKNOWN_SESSION,
        mapped: user ? metadataClaims.of(user.metadata) : NO_CLAIMS,
      }),
    }
    return { principal, refusal: null }
  }

  return {
    of,
    ofUser: (user, { hasFactor = user.mfa_enabled, authenticatedAt }) =>
      user.disabled_at
        ? { principal: null, refusal: 'token_revoked' }
        : of({ hasFactor, authenticatedAt, roles: user.roles, mustChangePassword: user.password_must_change, user }),
  }
}

/** @returns what is wrong with the name of a role, and what would be right. Null: the role exists */
export function roleFault({ auth }: Pick<Config, 'auth'>, role: string): string | null {
  const known = knownRoles(auth.roles)
  if (known.includes(role)) return null
  const near = nearest(role, known)
  return `${near ? `did you mean ${near}? ` : ''}The roles are ${known.join(', ')}`
}
