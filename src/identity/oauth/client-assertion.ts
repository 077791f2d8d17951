/**
 * Verifies client assertions (RFC 7523 §3): a machine client authenticates with a JWT, signed by a key whose public part is registered. The
 * key decides on the algorithm, never the token. The token must be for this audience only, expires within minutes, and works once.
 */
import { decodeJwt, decodeProtectedHeader, importJWK, type JWTPayload, errors as jose, jwtVerify } from 'jose'
import type { Config } from '../../platform/config/schema.ts'
import type { Db } from '../../platform/db/database.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { hasForeignParameters } from '../tokens/access-tokens.ts'
import { isUnambiguousJwt } from '../tokens/canonical-jwt.ts'
import { markUsed } from '../tokens/used-tokens.repo.ts'
import { type AssertionAlgorithm, algorithmsOf, type ClientKey } from './client-keys.ts'
import { findClientById, type OAuthClient } from './clients.repo.ts'

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

const MAX_LENGTH = 8192
const MAX_LIFE_SECONDS = 300
const CLOCK_TOLERANCE_SECONDS = 5
const MAX_ISSUED_AHEAD_SECONDS = 60
const JTI = /^[\x21-\x7e]{1,255}$/
/** The types of our own tokens. They are never accepted as assertions, whatever keys are registered. */
const OUR_TYPES = /^(?:application\/)?(?:at|mfa|assertion|id|logout|token-introspection)\+jwt$/i

export interface ClientAssertions {
  /** @returns the machine client that signed the assertion. @throws invalid_client */
  verify(assertion: string): Promise<OAuthClient>
}

export interface ClientAssertionsDeps {
  db: Db
  clock: Clock
  config: Config
}

const refusal = (cause: unknown): Problem => problem('invalid_client', { cause })

export function createClientAssertions({ db, clock, config }: ClientAssertionsDeps): ClientAssertions {
  const audiences = [config.tokens.issuer, `${config.server.publicUrl}${config.auth.prefix}/token`]

  /** Tries each registered key that fits the header. @throws invalid_client */
  async function assertSignature(assertion: string, header: Header, keys: readonly ClientKey[], clientId: string): Promise<JWTPayload> {
    const isNamed = ({ kid }: ClientKey) => header.kid === undefined || kid === undefined || kid === header.kid
    const candidates = keys.filter((key) => isNamed(key) && algorithmsOf(key).includes(header.alg))
    for (const key of candidates) {
      try {
        const { payload } = await jwtVerify(assertion, await importJWK(key, header.alg), {
          algorithms: [header.alg],
          issuer: clientId,
          subject: clientId,
          clockTolerance: CLOCK_TOLERANCE_SECONDS,
          currentDate: new Date(clock.now()),
          requiredClaims: ['exp', 'jti', 'aud'],
        })
        return payload
      } catch (error) {
        if (error instanceof jose.JWSSignatureVerificationFailed) continue
        throw error instanceof jose.JOSEError ? refusal(error) : error
      }
    }
    throw refusal('no registered key of the client verifies the signature')
  }

  function assertBounds({ aud, exp, iat, jti }: JWTPayload): void {
    const now = clock.now() / 1000
    // exactly one audience: another audience of the assertion could replay it here
    const [audience, ...others] = [aud].flat()
    if (others.length || !audiences.includes(audience!)) throw refusal('the audience is not this gateway alone')
    if (exp! > now + MAX_LIFE_SECONDS + CLOCK_TOLERANCE_SECONDS) throw refusal(`expires more than ${MAX_LIFE_SECONDS} s from now`)
    if (iat !== undefined && iat > now + MAX_ISSUED_AHEAD_SECONDS) throw refusal('issued in the future')
    if (typeof jti !== 'string' || !JTI.test(jti)) throw refusal('the jti is not 1 to 255 visible ASCII characters')
  }

  return {
    async verify(assertion) {
      const { header, clientId } = readParts(assertion)
      const client = await findClientById(db, clientId)
      if (!client?.jwks || client.disabled_at) throw refusal('the client is unknown, disabled, or has no keys')
      const payload = await assertSignature(assertion, header, JSON.parse(client.jwks).keys, clientId)
      assertBounds(payload)
      // the jti is remembered for as long as the assertion would be accepted
      const until = new Date((payload.exp! + CLOCK_TOLERANCE_SECONDS + MAX_ISSUED_AHEAD_SECONDS) * 1000)
      if (!(await markUsed(db, clientId, payload.jti!, until))) throw refusal('the assertion was used before')
      return client
    },
  }
}

interface Header {
  alg: AssertionAlgorithm
  kid?: string
}

/** Reads unverified parts of the assertion: they only choose the keys to try. */
function readParts(assertion: string): { header: Header; clientId: string } {
  if (assertion.length > MAX_LENGTH || !isUnambiguousJwt(assertion)) throw refusal('not three base64url parts of unambiguous JSON')
  try {
    const header = decodeProtectedHeader(assertion)
    const { iss, sub } = decodeJwt(assertion)
    if (hasForeignParameters(header)) throw refusal('the header has a parameter that is not allowed')
    if (OUR_TYPES.test(String(header.typ ?? ''))) throw refusal('the typ is that of another kind of token')
    if (header.kid !== undefined && typeof header.kid !== 'string') throw refusal('the kid is not a string')
    if (iss === undefined || iss !== sub || !isId(iss)) throw refusal('iss and sub must both be the same client id')
    return { header: header as Header, clientId: iss }
  } catch (error) {
    throw error instanceof TypeError || error instanceof jose.JOSEError ? refusal(error) : error
  }
}
