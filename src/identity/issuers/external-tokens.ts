/**
 * Access tokens of other issuers. The claim `iss`, which nobody has verified yet, only selects who verifies the token. What a token is worth
 * here follows from the configuration alone.
 */
import { compactVerify, errors as jose } from 'jose'
import type { Config, IssuerConfig } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import { CLAIMS_OF_OTHER_KINDS, CLOCK_TOLERANCE_SECONDS, MAX_ISSUED_AHEAD_SECONDS } from '../tokens/access-tokens.ts'
import { isUnambiguousJwt } from '../tokens/canonical-jwt.ts'
import { createRoles } from '../users/roles.ts'
import { isName, subjectKey, tokenKey } from './block-keys.ts'
import { compileClaimPath, itemsOf, type ReadClaim } from './claim-path.ts'
import type { IssuerAlgorithm, IssuerKey } from './issuer-key.ts'
import type { IssuerKeys } from './issuer-keys.ts'
import type { KeySet } from './key-set.ts'
import { issOf } from './public-issuers.ts'
import { foldType, NO_TYPE, UNTYPED } from './token-types.ts'

/** What a token of another issuer proves. */
export interface ExternalIdentity {
  /** `ext:<id of the issuer>:<sub>` */
  id: string
  roles: readonly string[]
  scopes: readonly string[]
  /** Seconds since the epoch. */
  expiresAt: number
  /** Names of the blocks that would end it; see block-keys.ts. */
  blocks: ExternalBlocks
}

export interface ExternalBlocks {
  subject: string
  /** Null: the token has no `jti`. */
  token: string | null
}

export interface ExternalIssuer {
  keys: Pick<KeySet, 'known'>
  /** @throws token_invalid, token_expired; issuer_unavailable while the keys cannot be had */
  verify(token: string): Promise<{ identity: ExternalIdentity; key: IssuerKey }>
}

/** @returns null: not of an issuer of the configuration */
export type SelectIssuer = (token: string) => ExternalIssuer | null

/** Tokens with many groups are long. With the rest of a head they still fit into `server.maxHeaderBytes`. */
const MAX_TOKEN_LENGTH = 8192
const MAX_KID_LENGTH = 256

/** RFC 7515 §4.1.11, RFC 7797, RFC 7516 §4.1.3. Keys that a header names or holds (`jwk`, `jku`, `x5c`, `x5u`) are never looked at. */
const REFUSED_PARAMETERS = ['crit', 'b64', 'zip']

type Json = Record<string, unknown>

/** @returns null: the configuration has no other issuer */
export function createIssuerSelection(
  { issuers, auth }: Pick<Config, 'issuers' | 'auth'>,
  { keys, clock }: { keys: IssuerKeys; clock: Clock },
): SelectIssuer | null {
  if (issuers.length === 0) return null
  const byIss = new Map<unknown, ExternalIssuer>()
  for (const settings of issuers) {
    const issuer = createIssuer(settings, auth.roles, keys.of(settings), clock)
    for (const iss of issOf(settings)) byIss.set(iss, issuer)
  }
  return (token) => (token.length > MAX_TOKEN_LENGTH ? null : (byIss.get(unverifiedIssOf(token)) ?? null))
}

function unverifiedIssOf(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token.split('.', 2)[1]!, 'base64url').toString()).iss
  } catch {
    return undefined
  }
}

function createIssuer(settings: IssuerConfig, defined: Config['auth']['roles'], keys: KeySet, clock: Clock): ExternalIssuer {
  const { id, issuer, audience, algorithms, typ, maxTtlSeconds } = settings
  const accepted = new Set(issOf(settings))
  const audiences = new Set([audience].flat())
  const types = new Set([typ].flat().map(foldType))
  const requirements = Object.entries(settings.require).map(([path, values]) => ({
    path,
    read: compileClaimPath(path),
    values: new Set<unknown>(values),
  }))
  const rolesOf = compileMap(settings.roles, textsOf)
  // RFC 6749 §3.3
  const scopesOf = compileMap(settings.scopes, (value) => textsOf(value).flatMap((text) => text.split(' ')))
  const grantsOf = createRoles(defined)

  function assertHeader({ alg, typ, kid, ...rest }: Json): { algorithm: IssuerAlgorithm; kid: string | null; isTyped: boolean } {
    const refused = REFUSED_PARAMETERS.find((name) => Object.hasOwn(rest, name))
    if (refused) throw invalid(`the header has ${refused}`)
    if (!algorithms.includes(alg as IssuerAlgorithm)) throw invalid(`alg is not in issuers[${id}].algorithms`)
    if (typ !== undefined && typeof typ !== 'string') throw invalid('typ is no text')
    const type = typ === undefined ? NO_TYPE : foldType(typ)
    // the word stands for no typ, and is none itself
    if (!types.has(type) || (typ !== undefined && type === NO_TYPE)) throw invalid(`typ is not in issuers[${id}].typ`)
    if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH)) throw invalid('kid is no name')
    return { algorithm: alg as IssuerAlgorithm, kid: (kid as string | undefined) ?? null, isTyped: !UNTYPED.has(type) }
  }

  function assertClaims(claims: Json, isTyped: boolean): void {
    const { iss, aud, sub, jti } = claims
    if (!accepted.has(iss as string)) throw invalid('another iss')
    if (!isAudience(aud) || !itemsOf(aud).some((one) => audiences.has(one as string)))
      throw invalid(`aud is not in issuers[${id}].audience`)
    if (!isName(sub)) throw invalid('sub is missing, too long, or has characters that no name has')
    if (jti !== undefined && !isName(jti)) throw invalid('jti is too long, or has characters that no name has')
    const other = isTyped ? undefined : CLAIMS_OF_OTHER_KINDS.find((name) => Object.hasOwn(claims, name))
    if (other) throw invalid(`has ${other}, as another kind of token has`)
    assertTimes(claims)
    for (const { path, read, values } of requirements)
      if (!itemsOf(read(claims)).some((value) => values.has(value)))
        throw invalid(`the claim ${path} has no value of issuers[${id}].require`)
  }

  function assertTimes({ iat, exp, nbf }: Json): void {
    if (!isTime(iat) || !isTime(exp) || (nbf !== undefined && !isTime(nbf))) throw invalid('iat or exp is missing, or a time is no number')
    const now = clock.now() / 1000
    const latest = now + MAX_ISSUED_AHEAD_SECONDS
    if (iat > latest) throw invalid('issued in the future')
    if (nbf !== undefined && nbf > latest) throw invalid('not valid yet')
    if (exp - iat > maxTtlSeconds) throw invalid(`lasts ${exp - iat} s, longer than issuers[${id}].maxTtlSeconds: ${maxTtlSeconds}`)
    if (exp + CLOCK_TOLERANCE_SECONDS <= now) throw problem('token_expired', { cause: `issuer ${id}` })
  }

  async function readSigned(token: string, { key, algorithm }: IssuerKey): Promise<Json> {
    try {
      const { payload } = await compactVerify(token, key, { algorithms: [algorithm] })
      return objectOf(JSON.parse(Buffer.from(payload).toString()))
    } catch (error) {
      throw error instanceof jose.JOSEError ? problem('token_invalid', { cause: error }) : error
    }
  }

  function identityOf(claims: Json): ExternalIdentity {
    const { sub, jti, exp } = claims as { sub: string; jti?: string; exp: number }
    const granted = grantsOf(rolesOf(claims))
    // no token of another issuer administers this gateway, whatever the configuration says
    if (granted.roles.includes('admin')) throw invalid(`issuers[${id}].roles gives the role admin`)
    return {
      id: `ext:${id}:${sub}`,
      roles: granted.roles,
      scopes: [...new Set([...granted.scopes, ...scopesOf(claims)])].sort(),
      expiresAt: exp,
      blocks: { subject: subjectKey(issuer, sub), token: jti === undefined ? null : tokenKey(issuer, jti) },
    }
  }

  return {
    keys,
    async verify(token) {
      if (!isUnambiguousJwt(token)) throw invalid('not three canonical base64url parts, or JSON with a name twice')
      const { algorithm, kid, isTyped } = assertHeader(headerOf(token))
      const key = await keys.find(kid, algorithm)
      if (!key) throw invalid(kid === null ? 'no kid, and not one key only' : 'unknown kid')
      const claims = await readSigned(token, key)
      assertClaims(claims, isTyped)
      return { identity: identityOf(claims), key }
    },
  }
}

const invalid = (cause: string): Problem => problem('token_invalid', { cause })

const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** RFC 7519 §4.1.3 */
const isAudience = (aud: unknown): boolean => typeof aud === 'string' || (Array.isArray(aud) && aud.every((one) => typeof one === 'string'))

const textsOf = (value: unknown): string[] => itemsOf(value).filter((item) => typeof item === 'string')

/** @throws token_invalid */
function objectOf(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('a part is no JSON object')
  return value as Json
}

/** @param token three base64url parts of JSON */
const headerOf = (token: string): Json => objectOf(JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString()))

function compileMap(rule: IssuerConfig['roles'], read: (value: unknown) => string[]): (claims: object) => string[] {
  if (rule === undefined) return () => []
  const claim: ReadClaim = compileClaimPath(rule.claim)
  return (claims) => read(claim(claims)).flatMap((value) => (Object.hasOwn(rule.map, value) ? rule.map[value]! : []))
}
