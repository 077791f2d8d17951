/** Sign-in with GitHub: OAuth 2.0 with PKCE, and GitHub's API in place of an ID token. */
import { createHash } from 'node:crypto'
import type { ProviderConfig } from '../../platform/config/schema.ts'
import { createBoundedFetch } from '../../platform/lib/bounded-fetch.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isEmail } from '../users/canonical-login.ts'
import { type Expected, GITHUB, type Outward, type ProvenLogin, type Provider } from './provider.ts'
import { problemOf, providerRefused, providerUnavailable, refusedBy } from './provider-errors.ts'

export interface GitHubDeps {
  settings: ProviderConfig
  clientSecret: string
  label: string
}

const API_VERSION = '2022-11-28'

interface Address {
  email?: unknown
  primary?: unknown
  verified?: unknown
}

export function createGitHubProvider({ settings, clientSecret, label }: GitHubDeps): Provider {
  const { clientId } = settings
  const issuer = (settings.issuer ?? GITHUB).replace(/\/$/, '')
  // GitHub Enterprise Server has the API below its own address
  const api = issuer === GITHUB ? 'https://api.github.com' : `${issuer}/api/v3`
  const scope = (settings.scopes ?? ['read:user', 'user:email']).join(' ')
  const fetch = createBoundedFetch(settings.caFile)

  async function exchange(code: string, { redirectUri, codeVerifier }: Expected): Promise<string> {
    const body = new URLSearchParams({
      client_id: clientId,
      client_secret: clientSecret,
      code,
      redirect_uri: redirectUri,
      code_verifier: codeVerifier,
    })
    const response = await fetch(`${issuer}/login/oauth/access_token`, { method: 'POST', body, headers: { accept: 'application/json' } })
    if (response.status >= 500) throw providerUnavailable(`the token endpoint answered ${response.status}`)
    const answer = (await response.json()) as { access_token?: unknown; error?: unknown }
    // GitHub answers an error with 200
    if (answer.error !== undefined) throw refusedBy(answer.error)
    if (!response.ok || typeof answer.access_token !== 'string') throw providerRefused(`the token endpoint answered ${response.status}`)
    return answer.access_token
  }

  async function read(path: string, token: string): Promise<Response> {
    const headers = {
      accept: 'application/vnd.github+json',
      authorization: `Bearer ${token}`,
      'user-agent': 'portcullis',
      'x-github-api-version': API_VERSION,
    }
    const response = await fetch(api + path, { headers })
    if (response.status >= 500 || response.status === 429) throw providerUnavailable(`${path} answered ${response.status}`)
    return response
  }

  /** The primary address, if GitHub has verified it. */
  async function emailOf(token: string): Promise<Pick<ProvenLogin, 'email' | 'isEmailVerified'>> {
    const response = await read('/user/emails', token)
    if (response.status === 403 || response.status === 404)
      throw problem('provider_refused', {
        cause: '/user/emails is not allowed',
        detail: 'GitHub does not allow this service to read your e-mail address.',
      })
    const addresses = response.ok ? ((await response.json()) as Address[]) : null
    if (!Array.isArray(addresses)) throw providerRefused(`/user/emails answered ${response.status}`)
    const primary = addresses.find((one) => one.primary === true && one.verified === true)
    const isUsable = typeof primary?.email === 'string' && isEmail(primary.email)
    return isUsable ? { email: primary.email as string, isEmailVerified: true } : { email: null, isEmailVerified: false }
  }

  async function finish(answer: URLSearchParams, expected: Expected): Promise<ProvenLogin> {
    const error = answer.get('error')
    if (error !== null) throw refusedBy(error)
    const code = answer.get('code')
    if (code === null) throw providerRefused('the answer has no code')
    // RFC 9207: GitHub sends no issuer, and an answer of another issuer is not GitHub's
    const iss = answer.get('iss')
    if (iss !== null && iss !== issuer && iss !== `${issuer}/login/oauth`) throw providerRefused('the answer is of another issuer')
    const token = await exchange(code, expected)
    const response = await read('/user', token)
    const user = response.ok ? ((await response.json()) as { id?: unknown; login?: unknown }) : {}
    if (typeof user.id !== 'number' || !Number.isSafeInteger(user.id)) throw providerRefused(`/user answered ${response.status}`)
    return {
      subject: String(user.id),
      ...(await emailOf(token)),
      nickname: typeof user.login === 'string' ? user.login : null,
      groups: null,
      sid: null,
      idToken: null,
      authTime: null,
    }
  }

  return {
    id: settings.id,
    kind: 'github',
    label,
    issuer,
    isFormPost: false,
    provesFreshness: false,
    settings,
    async begin({ redirectUri, state, codeVerifier, mustAsk }: Outward) {
      const url = new URL(`${issuer}/login/oauth/authorize`)
      url.search = new URLSearchParams({
        client_id: clientId,
        redirect_uri: redirectUri,
        response_type: 'code',
        scope,
        state,
        code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
        code_challenge_method: 'S256',
        ...(mustAsk && { prompt: 'select_account' }),
      }).toString()
      return url
    },
    finish: (answer, expected) =>
      finish(answer, expected).catch((error) => {
        throw error instanceof SyntaxError ? providerRefused('the answer is no JSON') : problemOf(error)
      }),
    logoutUrl: async () => null,
    async readLogoutToken() {
      throw problem('not_found')
    },
  }
}
