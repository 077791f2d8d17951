/**
 * RFC 7523 §3: a client proves who it is by a JWT that it signs with a key whose public part is registered. The key, not the token, decides on
 * the algorithm; the token is meant for us alone, lives for minutes and is good once.
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
/** Ours: none of them is ever taken for an assertion, whoever has registered which key. */
const OUR_TYPES = /^(?:application\/)?(?:at|mfa|assertion|id|logout|token-introspection)\+jwt$/i

export interface ClientAssertions {
  /** @returns the client that it proves. @throws invalid_client */
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

  /** One of the keys that its header allows. */
  async function assertSignature(assertion: string, header: Header, keys: readonly ClientKey[], clientId: string): Promise<JWTPayload> {
    const isNamed = ({ kid }: ClientKey) => header.kid === undefined || kid === undefined || kid === header.kid
    const fitting = keys.filter((key) => isNamed(key) && algorithmsOf(key).includes(header.alg))
    for (const key of fitting) {
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
    throw refusal('no registered key has signed it')
  }

  function assertBounds({ aud, exp, iat, jti }: JWTPayload): void {
    const now = clock.now() / 1000
    // for us alone: whoever else it is for could show it to us
    const [audience, ...others] = [aud].flat()
    if (others.length || !audiences.includes(audience!)) throw refusal('made for another audience')
    if (exp! > now + MAX_LIFE_SECONDS + CLOCK_TOLERANCE_SECONDS) throw refusal(`lives longer than ${MAX_LIFE_SECONDS} s`)
    if (iat !== undefined && iat > now + MAX_ISSUED_AHEAD_SECONDS) throw refusal('issued in the future')
    if (typeof jti !== 'string' || !JTI.test(jti)) throw refusal('a jti that is not 1 to 255 of ASCII')
  }

  return {
    async verify(assertion) {
      const { header, clientId } = readParts(assertion)
      const client = await findClientById(db, clientId)
      if (!client?.jwks || client.disabled_at) throw refusal('an unknown or disabled client, or one without keys')
      const payload = await assertSignature(assertion, header, JSON.parse(client.jwks).keys, clientId)
      assertBounds(payload)
      // good for as long as it would be accepted
      const until = new Date((payload.exp! + CLOCK_TOLERANCE_SECONDS + MAX_ISSUED_AHEAD_SECONDS) * 1000)
      if (!(await markUsed(db, clientId, payload.jti!, until))) throw refusal('used before')
      return client
    },
  }
}

interface Header {
  alg: AssertionAlgorithm
  kid?: string
}

/** What is read before anything is proven: it only says which keys to try. */
function readParts(assertion: string): { header: Header; clientId: string } {
  if (assertion.length > MAX_LENGTH || !isUnambiguousJwt(assertion)) throw refusal('not three base64url parts of JSON that has one reading')
  try {
    const header = decodeProtectedHeader(assertion)
    const { iss, sub } = decodeJwt(assertion)
    if (hasForeignParameters(header)) throw refusal('a header parameter that is not taken')
    if (OUR_TYPES.test(String(header.typ ?? ''))) throw refusal('a token of another kind')
    if (header.kid !== undefined && typeof header.kid !== 'string') throw refusal('a kid that is no text')
    if (iss === undefined || iss !== sub || !isId(iss)) throw refusal('iss and sub are not the id of a client')
    return { header: header as Header, clientId: iss }
  } catch (error) {
    throw error instanceof TypeError || error instanceof jose.JOSEError ? refusal(error) : error
  }
}
