/** The providers of the configuration, by their ids. */
import type { Config, ProviderConfig, Secrets } from '../../platform/config/schema.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import { createGitHubProvider } from './github-provider.ts'
import { createOpenIdProvider } from './openid-provider.ts'
import type { Provider } from './provider.ts'

export interface Providers {
  /** In the order of the configuration. */
  list: readonly Provider[]
  /** @throws not_found */
  get(id: string): Provider
  /** Of a linked login: its id may have changed since. Null: no longer in the configuration. */
  withIssuer(issuer: string): Provider | null
}

export interface ProvidersDeps {
  auth: Pick<Config['auth'], 'providers'>
  secrets: Secrets['providers']
  clock: Clock
}

const LABELS: readonly [issuer: RegExp, label: string][] = [
  [/^https:\/\/accounts\.google\.com$/, 'Google'],
  [/^https:\/\/login\.microsoftonline\.com\//, 'Microsoft'],
  [/^https:\/\/appleid\.apple\.com$/, 'Apple'],
  [/^https:\/\/gitlab\.com$/, 'GitLab'],
]

function labelOf({ label, kind, issuer, id }: ProviderConfig): string {
  if (label !== undefined) return label
  if (kind === 'github') return 'GitHub'
  if (kind === 'apple') return 'Apple'
  return LABELS.find(([pattern]) => pattern.test(issuer ?? ''))?.[1] ?? id
}

/** @throws when a file of keys or CAs cannot be read */
export function createProviders({ auth, secrets, clock }: ProvidersDeps): Providers {
  const list = auth.providers.map((settings) => {
    const { id, kind } = settings
    const clientSecret = secrets[id] ?? null
    const label = labelOf(settings)
    return kind === 'github'
      ? createGitHubProvider({ settings, clientSecret: clientSecret ?? '', label })
      : createOpenIdProvider({ settings, clientSecret, label, clock })
  })
  const byId = new Map(list.map((provider) => [provider.id, provider]))
  return {
    list,
    get(id) {
      const provider = byId.get(id)
      if (!provider) throw problem('not_found', { cause: 'no provider has this id' })
      return provider
    },
    withIssuer: (issuer) => list.find((provider) => provider.issuer === issuer) ?? null,
  }
}
