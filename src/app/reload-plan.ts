/** What a reload may change: the new configuration, with the settings that need a restart at their old values. */
import type { Config, Secrets } from '../platform/config/schema.ts'

/** They are read once, at the start: by listeners, pools, processes, or by jobs. A section stands for all its settings. */
export const NEED_RESTART: readonly string[] = [
  'server.host',
  'server.port',
  'server.publicUrl',
  'server.workers',
  'server.replicas',
  'server.tls.redirectPort',
  'server.tls.acme.eab',
  'server.headersTimeoutMs',
  'server.requestTimeoutMs',
  'server.keepAliveTimeoutMs',
  'server.maxConnections',
  'server.maxRequestsPerSocket',
  'server.maxHeaderBytes',
  'server.shutdownDelayMs',
  'server.shutdownTimeoutMs',
  'server.overload',
  'admin',
  'database',
  'redis',
  'tokens',
  'auth.prefix',
  'auth.password.argon2',
  'auth.refresh',
  'auth.sessions',
  'auth.providers',
  'auth.browser.enabled',
  'auth.browser.console',
  'auth.browser.cookieDomain',
  'auth.cleanup',
  'auth.audit',
  'mail',
]

export interface ReloadPlan {
  /** To be put in force. */
  config: Config
  /** Settings whose new values wait for a restart. Names only: a value may be a secret. */
  needsRestart: string[]
}

type Section = Record<string, unknown>

export function planReload(running: Config, wanted: Config): ReloadPlan {
  const config = structuredClone(wanted)
  const needsRestart: string[] = []
  // TLS, and where its certificate comes from, are matters of the listener; the files and the domains are not
  if (sourceOf(running) !== sourceOf(wanted)) {
    needsRestart.push('server.tls')
    put(config, ['server', 'tls'], running.server.tls)
  }
  for (const name of NEED_RESTART) {
    const path = name.split('.')
    const [before, after] = [at(running, path), at(config, path)]
    const changed = differences(before, after, path)
    if (changed.length === 0) continue
    put(config, path, before)
    needsRestart.push(...changed)
  }
  return { config, needsRestart: needsRestart.filter((name) => !followsFromOthers(name, running, wanted)) }
}

const sourceOf = ({ server: { tls } }: Config): 'none' | 'acme' | 'files' => (!tls ? 'none' : tls.acme ? 'acme' : 'files')

/** Only the secrets that a running gateway uses. */
export function changedSecrets(running: Secrets, wanted: Secrets): string[] {
  const keys = [
    ['PORTCULLIS_SECRET_KEY', 'secretKey'],
    ['PORTCULLIS_SECRET_KEY_PREVIOUS', 'previousSecretKey'],
  ] as const
  const changedKeys = keys.filter(([, key]) => String(running[key]?.toString('hex')) !== String(wanted[key]?.toString('hex')))
  // a provider that was added or removed is named by its setting
  const both = Object.keys(running.providers).filter((id) => Object.hasOwn(wanted.providers, id))
  const providers = both.filter((id) => running.providers[id] !== wanted.providers[id])
  const binding = running.acmeHmacKey !== wanted.acmeHmacKey && running.acmeHmacKey !== null && wanted.acmeHmacKey !== null
  return [
    ...changedKeys.map(([name]) => name),
    ...(binding ? ['the HMAC key of server.tls.acme.eab'] : []),
    ...providers.map((id) => `the client secret of the provider ${id}`),
  ]
}

const at = (root: object, path: readonly string[]): unknown =>
  path.reduce<unknown>((value, key) => (value as Section | undefined)?.[key], root)

function put(root: object, path: readonly string[], value: unknown): void {
  const holder = at(root, path.slice(0, -1)) as Section | undefined
  if (!holder) return
  if (value === undefined) delete holder[path.at(-1)!]
  else holder[path.at(-1)!] = structuredClone(value)
}

const isSection = (value: unknown): value is Section => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Each setting that differs. */
function differences(before: unknown, after: unknown, path: readonly string[]): string[] {
  if (!isSection(before) || !isSection(after)) return JSON.stringify(before) === JSON.stringify(after) ? [] : [path.join('.')]
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return keys.flatMap((key) => differences(before[key], after[key], [...path, key]))
}

const LOCAL_URL = /^https?:\/\/localhost:\d+$/

/** Without a value of its own, publicUrl follows from port and TLS, and the issuer from publicUrl. */
function followsFromOthers(name: string, ...both: readonly Config[]): boolean {
  if (name === 'server.publicUrl') return both.every(({ server }) => LOCAL_URL.test(server.publicUrl))
  return name === 'tokens.issuer' && both.every(({ server, tokens }) => tokens.issuer === server.publicUrl)
}
