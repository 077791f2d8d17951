/** A gateway whose users sign in with providers, and journeys through them. */
import type { FakeGitHub } from './fake-github.ts'
import type { FakeProvider } from './fake-provider.ts'
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts'
import { rows } from './rows.ts'
import { createWebAgent, type WebAgent, type WebAnswer } from './web-agent.ts'

/** What browsers see. The gateway has no TLS of its own: its public address says that a proxy has it. */
export const ORIGIN = 'https://gateway.test'
export const SESSION = '__Host-portcullis'

type Json = Record<string, any>

export interface SignInGateway extends Gateway {
  agent(): WebAgent
  /** Signs in with the provider `id`. @returns the last page */
  signIn(agent: WebAgent, id?: string, query?: string): Promise<WebAnswer>
}

export interface SignInOptions extends Omit<GatewayOptions, 'env'> {
  openId?: FakeProvider
  github?: FakeGitHub
  /** Added to the settings of each provider. */
  settings?: Json
  /** Added to `auth`. */
  auth?: Json
  /** Further client secrets, by the names of their variables. */
  secrets?: Record<string, string>
}

export const openIdSettings = ({ issuer, clientId }: FakeProvider, more: Json = {}): Json => ({
  id: 'acme',
  kind: 'oidc',
  issuer,
  clientId,
  clientSecretEnv: 'ACME_SECRET',
  label: 'Acme',
  ...more,
})

export async function startSignInGateway({
  openId,
  github,
  settings = {},
  auth = {},
  secrets = {},
  ...options
}: SignInOptions): Promise<SignInGateway> {
  const providers = [
    ...(openId ? [openIdSettings(openId, settings)] : []),
    ...(github
      ? [{ id: 'github', kind: 'github', issuer: github.issuer, clientId: github.clientId, clientSecretEnv: 'GITHUB_SECRET', ...settings }]
      : []),
  ]
  const config = {
    ...options.config,
    server: { publicUrl: ORIGIN, ...(options.config?.server as Json) },
    auth: { browser: { enabled: true }, providers, ...auth },
  }
  const env = { ...secrets, ...(openId && { ACME_SECRET: openId.clientSecret }), ...(github && { GITHUB_SECRET: github.clientSecret }) }
  const gateway = await startGateway({ ...options, config, env })
  const agent = () => createWebAgent({ [ORIGIN]: gateway.port })
  return {
    ...gateway,
    agent,
    signIn: (by, id = openId ? 'acme' : 'github', query = '') => by.open(`${ORIGIN}/auth/providers/${id}/start${query}`),
  }
}

/** The user of this agent's session; null without a session. */
export async function userOf(agent: WebAgent): Promise<Json | null> {
  const { status, body } = await agent.read(`${ORIGIN}/auth/session`)
  return status === 200 ? body : null
}

export const linksOf = (gateway: Pick<Gateway, 'app'>, email: string) =>
  rows(
    gateway,
    'SELECT l.provider, l.issuer, l.subject FROM linked_logins l JOIN users u ON u.id = l.user_id WHERE u.email_canonical = $1 ORDER BY l.created_at',
    [email],
  )
