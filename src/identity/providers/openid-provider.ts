/**
 * OpenID Connect with `openid-client`, and Sign in with Apple, which is OpenID Connect with a signed client secret and an answer by form.
 * Signatures are verified here, with keys that are read again in the background: the library would trust TLS alone.
 */
import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRemoteJWKSet, decodeProtectedHeader, customFetch as joseFetch, jwtVerify, SignJWT } from 'jose'
import * as oidc from 'openid-client'
import type { ProviderConfig } from '../../platform/config/schema.ts'
import { createBoundedFetch } from '../../platform/lib/bounded-fetch.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { type Problem, problem } from '../../platform/lib/errors.ts'
import { isEmail } from '../users/canonical-login.ts'
import { APPLE, type Expected, type LogoutToken, type Outward, type ProvenLogin, type Provider } from './provider.ts'
import { metadataUnavailable, problemOf, providerRefused, providerUnavailable } from './provider-errors.ts'

export interface OpenIdDeps {
  settings: ProviderConfig
  /** Null: it is signed, see `clientSecretJwt`. */
  clientSecret: string | null
  label: string
  clock: Clock
}

const GOOGLE = 'https://accounts.google.com'

/** A key of the provider signs alone: no algorithm works with a shared secret. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
const TOLERANCE_SECONDS = 60
const METADATA_MS = 3_600_000
const KEYS_MS = 300_000
/** An unknown key makes us ask again, but not for each request. */
const KEYS_COOLDOWN_MS = 1000
const APPLE_SECRET_SECONDS = 3600
/** OpenID Connect Back-Channel Logout 1.0 §2.4 */
const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const LOGOUT_TOKEN_SECONDS = 600

interface Known {
  config: oidc.Configuration
  keys: ReturnType<typeof createRemoteJWKSet>
  algorithms: string[]
  readAt: number
  keysReadAt: number
}

export function createOpenIdProvider({ settings, clientSecret, label, clock }: OpenIdDeps): Provider {
  const { kind, clientId, clientSecretJwt, roles } = settings
  const isApple = kind === 'apple'
  const issuer = settings.issuer ?? APPLE
  const scope = (settings.scopes ?? (isApple ? ['name', 'email'] : ['openid', 'email', 'profile'])).join(' ')
  const fetch = createBoundedFetch(settings.caFile)
  const isPlain = issuer.startsWith('http:')
  const appleSecret = clientSecretJwt && createAppleSecret(clientSecretJwt, { clientId, issuer, clock })

  let known: Known | null = null
  let reading: Promise<Known> | null = null

  function authenticationFor({ token_endpoint_auth_methods_supported: methods }: oidc.ServerMetadata): oidc.ClientAuth {
    if (appleSecret)
      return async (_server, client, body) => {
        body.set('client_id', client.client_id)
        body.set('client_secret', await appleSecret())
      }
    // OpenID Connect Discovery §3: without the list it is client_secret_basic
    const isPost = methods !== undefined && !methods.includes('client_secret_basic') && methods.includes('client_secret_post')
    return isPost ? oidc.ClientSecretPost(clientSecret!) : oidc.ClientSecretBasic(clientSecret!)
  }

  async function read(): Promise<Known> {
    const execute = isPlain ? [oidc.allowInsecureRequests] : []
    const found = await oidc.discovery(new URL(issuer), clientId, undefined, oidc.None(), {
      execute,
      timeout: 5,
      [oidc.customFetch]: fetch as oidc.CustomFetch,
    })
    const server = found.serverMetadata()
    const offered = server.id_token_signing_alg_values_supported ?? ['RS256']
    const algorithms = offered.filter((algorithm) => ALGORITHMS.includes(algorithm))
    if (!server.jwks_uri || algorithms.length === 0) throw providerUnavailable('the metadata has no keys, or no algorithm that is accepted')
    const config = new oidc.Configuration(server, clientId, { [oidc.clockTolerance]: TOLERANCE_SECONDS }, authenticationFor(server))
    config[oidc.customFetch] = fetch as oidc.CustomFetch
    config.timeout = 5
    if (isPlain) oidc.allowInsecureRequests(config)
    const keys =
      known?.config.serverMetadata().jwks_uri === server.jwks_uri
        ? known.keys
        : createRemoteJWKSet(new URL(server.jwks_uri), {
            cacheMaxAge: METADATA_MS,
            cooldownDuration: KEYS_COOLDOWN_MS,
            timeoutDuration: 5000,
            [joseFetch]: fetch,
          })
    const now = clock.steady()
    return { config, keys, algorithms, readAt: now, keysReadAt: now }
  }

  function readOnce(): Promise<Known> {
    reading ??= read()
      .then(
        (fresh) => {
          known = fresh
          return fresh
        },
        (error) => {
          throw metadataUnavailable(error)
        },
      )
      .finally(() => {
        reading = null
      })
    return reading
  }

  /** Only the first read makes anybody wait. */
  async function provider(): Promise<Known> {
    if (known === null) return readOnce()
    const now = clock.steady()
    if (now - known.readAt > METADATA_MS) readOnce().catch(() => {})
    else if (now - known.keysReadAt > KEYS_MS) {
      known.keysReadAt = now
      known.keys.reload().catch(() => {})
    }
    return known
  }

  const verified = async (token: string, { keys, algorithms }: Known, options: object = {}) =>
    (
      await jwtVerify(token, keys, {
        algorithms,
        issuer,
        audience: clientId,
        currentDate: new Date(clock.now()),
        clockTolerance: TOLERANCE_SECONDS,
        ...options,
      })
    ).payload

  /** @throws provider_refused, provider_unavailable */
  const asProblem = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      throw problemOf(error)
    })

  async function begin({ redirectUri, state, nonce, codeVerifier, notBefore, mustAsk }: Outward): Promise<URL> {
    const { config } = await provider()
    return oidc.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri,
      scope,
      state,
      nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(codeVerifier),
      code_challenge_method: 'S256',
      ...(isApple && { response_mode: 'form_post' }),
      ...(notBefore !== null && { max_age: '0' }),
      ...(mustAsk && { prompt: 'login' }),
    })
  }

  async function finish(answer: URLSearchParams, { redirectUri, state, nonce, codeVerifier, notBefore }: Expected): Promise<ProvenLogin> {
    const current = await provider()
    const url = new URL(redirectUri)
    url.search = answer.toString()
    const tokens = await oidc.authorizationCodeGrant(current.config, url, {
      pkceCodeVerifier: codeVerifier,
      expectedState: state,
      expectedNonce: nonce,
      idTokenExpected: true,
    })
    const claims = await verified(tokens.id_token!, current, { requiredClaims: ['sub', 'iat', 'exp'] })
    assertRecent(claims.auth_time, notBefore)
    const { email, isEmailVerified } = emailOf(claims)
    return {
      subject: claims.sub!,
      email,
      isEmailVerified,
      nickname: textOf(claims.preferred_username) ?? textOf(claims.nickname),
      groups: roles ? valuesOf(claims[roles.claim]) : null,
      sid: textOf(claims.sid),
      idToken: tokens.id_token!,
      authTime: timeOf(claims.auth_time, clock),
    }
  }

  /** @throws provider_refused */
  function assertRecent(authTime: unknown, notBefore: number | null): void {
    if (notBefore === null) return
    if (typeof authTime !== 'number') throw providerRefused('the answer does not say when the user authenticated')
    if (authTime * 1000 < notBefore - TOLERANCE_SECONDS * 1000) throw providerRefused('the user has not authenticated again')
  }

  function emailOf(claims: Record<string, unknown>): Pick<ProvenLogin, 'email' | 'isEmailVerified'> {
    const email = textOf(claims.email)
    if (email === null || !isEmail(email)) return { email: null, isEmailVerified: false }
    // Apple sends a text, and nobody else may
    const isVerified = claims.email_verified === true || (isApple && claims.email_verified === 'true')
    return { email, isEmailVerified: isVerified && (issuer !== GOOGLE || isOfGoogle(email, claims.hd)) }
  }

  async function readLogoutToken(token: string): Promise<LogoutToken> {
    const current = await provider().catch((error) => {
      throw problemOf(error)
    })
    try {
      const { typ } = decodeProtectedHeader(token)
      // §2.4: the type is recommended, and a token of another type is none
      if (typ !== undefined && !/^(application\/)?(logout\+)?jwt$/i.test(typ)) throw logoutTokenInvalid('another type')
      const claims = await verified(token, current, { requiredClaims: ['iat', 'jti', 'events'], maxTokenAge: LOGOUT_TOKEN_SECONDS })
      const { sub, nonce, events, jti, iat } = claims
      const sid = textOf(claims.sid)
      if (nonce !== undefined) throw logoutTokenInvalid('it has a nonce, as an ID token has')
      if (typeof events !== 'object' || events === null || !isObject((events as Record<string, unknown>)[LOGOUT_EVENT]))
        throw logoutTokenInvalid('it has no logout event')
      if (textOf(sub) === null && sid === null) throw logoutTokenInvalid('it names neither a subject nor a session')
      if (textOf(jti) === null) throw logoutTokenInvalid('it has no id')
      const expiresAt = new Date((iat! + LOGOUT_TOKEN_SECONDS + 2 * TOLERANCE_SECONDS) * 1000)
      return { subject: textOf(sub), sid, jti: jti!, expiresAt }
    } catch (error) {
      const found = error instanceof TypeError ? logoutTokenInvalid('it is no JWT') : problemOf(error)
      throw found.code === 'provider_refused' ? logoutTokenInvalid(String(found.cause)) : found
    }
  }

  return {
    id: settings.id,
    kind,
    label,
    issuer,
    isFormPost: isApple,
    provesFreshness: !isApple,
    settings,
    begin: (outward) => asProblem(begin(outward)),
    finish: (answer, expected) => asProblem(finish(answer, expected)),
    async logoutUrl(idToken, returnUrl) {
      const current = await provider().catch(() => null)
      if (!current?.config.serverMetadata().end_session_endpoint) return null
      return oidc.buildEndSessionUrl(current.config, {
        post_logout_redirect_uri: returnUrl,
        ...(idToken !== null && { id_token_hint: idToken }),
      })
    },
    readLogoutToken,
  }
}

export const logoutTokenInvalid = (cause: string): Problem => problem('logout_token_invalid', { cause })

const MAX_TEXT = 255
const textOf = (value: unknown): string | null => (typeof value === 'string' && value !== '' && value.length <= MAX_TEXT ? value : null)

/** No later than now, and no earlier than 1970. */
const timeOf = (seconds: unknown, clock: Clock): Date | null =>
  typeof seconds === 'number' && seconds >= 0 ? new Date(Math.min(seconds * 1000, clock.now())) : null

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)

const valuesOf = (value: unknown): string[] | null =>
  typeof value === 'string' ? [value] : Array.isArray(value) ? value.filter((one) => typeof one === 'string') : null

/** Google vouches for its own mailboxes, and for those of the organisation that `hd` names. Other addresses belong to other mail servers. */
function isOfGoogle(email: string, hd: unknown): boolean {
  const domain = email.slice(email.lastIndexOf('@') + 1).toLowerCase()
  return domain === 'gmail.com' || domain === 'googlemail.com' || (typeof hd === 'string' && hd.toLowerCase() === domain)
}

/** https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret */
function createAppleSecret(
  { teamId, keyId, keyFile }: NonNullable<ProviderConfig['clientSecretJwt']>,
  { clientId, issuer, clock }: { clientId: string; issuer: string; clock: Clock },
): () => Promise<string> {
  const key = createPrivateKey(readFileSync(keyFile))
  let secret = ''
  let renewAt = 0
  return async () => {
    const now = Math.floor(clock.now() / 1000)
    if (now < renewAt) return secret
    secret = await new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid: keyId })
      .setIssuer(teamId)
      .setSubject(clientId)
      .setAudience(issuer)
      .setIssuedAt(now)
      .setExpirationTime(now + APPLE_SECRET_SECONDS)
      .sign(key)
    renewAt = now + APPLE_SECRET_SECONDS / 2
    return secret
  }
}
