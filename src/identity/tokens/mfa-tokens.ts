/** Tokens between the password and the second factor: JWTs with a type of their own. They are not access tokens, and work for one login. */
import { randomUUID } from 'node:crypto'
import { decodeProtectedHeader, errors as jose, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { BY_PASSWORD } from './amr.ts'
import type { Keyring } from './keyring.ts'
import { MFA_TOKEN_LIFE_SECONDS, retirementFault } from './retired-key.ts'

const MFA_TOKEN_TYPE = 'mfa+jwt'

export interface MfaClaims {
  userId: string
  /** `users.session_epoch`. A change that ends every session also ends unfinished logins. */
  sessionEpoch: number
  /** What the user has shown first. */
  amr: readonly string[]
  /** The sign-in with a provider that came first. */
  providerLogin?: string | undefined
}

export type ProvenMfaToken = MfaClaims & { jti: string; expiresAt: Date }

export interface MfaTokens {
  issue(claims: MfaClaims): Promise<string>
  /** @throws mfa_token_invalid */
  verify(token: string): Promise<ProvenMfaToken>
}

export function createMfaTokens({ keyring, issuer, clock }: { keyring: Keyring; issuer: string; clock: Clock }): MfaTokens {
  const audience = `${issuer}#mfa`

  async function verify(token: string) {
    const { kid } = decodeProtectedHeader(token)
    const key = typeof kid === 'string' ? await keyring.find(kid) : undefined
    if (!key) throw problem('mfa_token_invalid', { cause: 'unknown kid' })
    const { payload } = await jwtVerify(token, key.key, {
      algorithms: [key.algorithm],
      typ: MFA_TOKEN_TYPE,
      issuer,
      audience,
      currentDate: new Date(clock.now()),
      requiredClaims: ['exp', 'iat', 'jti', 'sub', 'sev'],
    })
    const fault = retirementFault(key.retirement, payload, MFA_TOKEN_LIFE_SECONDS)
    if (fault) throw problem('mfa_token_invalid', { cause: fault })
    return {
      userId: payload.sub!,
      sessionEpoch: Number(payload.sev),
      amr: (payload.amr as string[] | undefined) ?? [...BY_PASSWORD],
      ...(typeof payload.fed === 'string' && { providerLogin: payload.fed }),
      jti: payload.jti!,
      expiresAt: new Date(payload.exp! * 1000),
    }
  }

  return {
    issue({ userId, sessionEpoch, amr, providerLogin }) {
      const { kid, algorithm, privateKey } = keyring.signing()
      const issuedAt = Math.floor(clock.now() / 1000)
      return new SignJWT({ sev: sessionEpoch, amr, ...(providerLogin !== undefined && { fed: providerLogin }) })
        .setProtectedHeader({ alg: algorithm, typ: MFA_TOKEN_TYPE, kid })
        .setIssuer(issuer)
        .setAudience(audience)
        .setSubject(userId)
        .setIssuedAt(issuedAt)
        .setExpirationTime(issuedAt + MFA_TOKEN_LIFE_SECONDS)
        .setJti(randomUUID())
        .sign(privateKey)
    },
    verify: (token) =>
      verify(token).catch((error) => {
        // decodeProtectedHeader throws a TypeError for text that is not a JWT
        throw error instanceof jose.JOSEError || error instanceof TypeError ? problem('mfa_token_invalid', { cause: error }) : error
      }),
  }
}
