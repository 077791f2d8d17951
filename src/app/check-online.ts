/** Asks every server that a configuration names whether it answers. Nothing is written, logged in or mailed. */
import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import pg from 'pg'
import { createKeySetFetch } from '../identity/issuers/fetch-key-set.ts'
import { readKeys } from '../identity/issuers/issuer-key.ts'
import { APPLE, GITHUB } from '../identity/providers/provider.ts'
import { directoryOf } from '../platform/acme/acme-settings.ts'
import type { Config } from '../platform/config/schema.ts'
import { hostName } from '../platform/db/describe-database.ts'
import { hostsOf } from '../platform/db/hosts.ts'
import { createBoundedFetch } from '../platform/lib/bounded-fetch.ts'
import { startDeadline } from '../platform/lib/deadline.ts'
import { causeText } from '../platform/lib/errors.ts'
import { greetMailServer } from '../platform/mail/smtp.ts'
import { parseRedisUrl } from '../platform/redis/connect.ts'
import { pingRedis } from '../platform/redis/ping.ts'
import { compileRoutes, type Server } from '../proxy/routing/route-table.ts'

export interface OnlineResult {
  /** Such as `upstream http://orders:3000`. */
  name: string
  /** Such as TCP, TLS, SELECT 1, PING, EHLO, discovery or key set. */
  question: string
  /** Why it failed. Null: it answered. */
  fault: string | null
  /** The setting that names the server. */
  path: (string | number)[]
}

interface Probe extends Omit<OnlineResult, 'fault'> {
  ask(): Promise<void>
}

const TIMEOUT_MS = 3000

/** All servers at the same time, each for 3 seconds at most. @param isAsked by the setting that names a server; default: all */
export const checkOnline = (config: Config, isAsked: (path: OnlineResult['path']) => boolean = () => true): Promise<OnlineResult[]> =>
  Promise.all(
    probesOf(config)
      .filter(({ path }) => isAsked(path))
      .map(async ({ ask, ...probe }) => ({
        ...probe,
        fault: await within(TIMEOUT_MS, ask).then(
          () => null,
          (error) => causeText(error) || 'no answer',
        ),
      })),
  )

const probesOf = (config: Config): Probe[] => [
  ...upstreamProbes(config),
  ...databaseProbes(config),
  ...redisProbes(config),
  ...mailProbes(config),
  ...providerProbes(config),
  ...issuerProbes(config),
  ...acmeProbes(config),
]

function upstreamProbes(config: Config): Probe[] {
  const seen = new Set<string>()
  return compileRoutes(config).routes.flatMap(({ servers }, i) =>
    servers.flatMap((server, j): Probe[] => {
      const key = JSON.stringify([server.origin, server.tls])
      if (seen.has(key)) return []
      seen.add(key)
      const isTls = server.origin.startsWith('https:')
      return [
        {
          name: `upstream ${server.origin}`,
          question: isTls ? 'TLS' : 'TCP',
          path: ['routes', i, 'upstream', j],
          ask: () => connect(server),
        },
      ]
    }),
  )
}

function databaseProbes({ database }: Config): Probe[] {
  if (database.url === 'embedded') return []
  return (['url', 'readUrl'] as const).flatMap((key) => {
    const url = database[key]
    if (url === undefined) return []
    return hostsOf(url).map((one) => ({
      name: `${key === 'url' ? 'Postgres' : 'read replica'} ${hostName(one)}`,
      question: 'SELECT 1',
      path: ['database', key],
      ask: () => selectOne(one),
    }))
  })
}

function redisProbes({ redis: { url } }: Config): Probe[] {
  if (url === 'memory') return []
  const hosts = parseRedisUrl(url).hosts.map(({ host, port }) => `${host}:${port}`)
  return [{ name: `Redis ${hosts.join(', ')}`, question: 'PING', path: ['redis', 'url'], ask: () => pingRedis(url, TIMEOUT_MS) }]
}

function mailProbes({ mail: { url, startTls } }: Config): Probe[] {
  if (url === undefined) return []
  return [{ name: `mail server ${new URL(url).host}`, question: 'EHLO', path: ['mail', 'url'], ask: () => greetMailServer(url, startTls) }]
}

function providerProbes({ auth }: Config): Probe[] {
  return auth.providers.map(({ id, kind, issuer, caFile }, i) => {
    const path = ['auth', 'providers', i, 'issuer']
    if (kind === 'github') {
      const { origin } = new URL(issuer ?? GITHUB)
      const server: Server = { origin, weight: 1, tls: caFile === undefined ? null : { ca: caFile } }
      return { name: `provider ${id} ${origin}`, question: origin.startsWith('https:') ? 'TLS' : 'TCP', path, ask: () => connect(server) }
    }
    const url = issuer ?? APPLE
    return { name: `provider ${id} ${url}`, question: 'discovery', path, ask: () => discover(url, caFile) }
  })
}

const issuerProbes = ({ issuers }: Config): Probe[] =>
  issuers.map((settings, i) => ({
    name: `issuer ${settings.id} ${settings.issuer}`,
    question: 'key set',
    path: ['issuers', i, settings.jwksUri === undefined ? 'issuer' : 'jwksUri'],
    ask: async () => void (await readKeys(await createKeySetFetch(settings)(), settings.algorithms, new Map())),
  }))

function acmeProbes({ server: { tls } }: Config): Probe[] {
  if (!tls?.acme) return []
  const { acme } = tls
  const url = directoryOf(acme)
  return [
    {
      name: `ACME server ${url}`,
      question: 'directory',
      path: ['server', 'tls', 'acme', 'directoryUrl'],
      ask: () => readDirectory(url, acme.ca),
    },
  ]
}

/** RFC 8555 §7.1.1. */
async function readDirectory(url: string, ca: string | undefined): Promise<void> {
  const response = await createBoundedFetch(ca)(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  if (response.status !== 200) throw new Error(`${url} answers ${response.status}`)
  const directory = (await response.json().catch(() => null)) as { newOrder?: unknown } | null
  if (typeof directory?.newOrder !== 'string') throw new Error(`${url} is not the directory of an ACME server`)
}

/** Opens a connection and closes it. The certificate of a TLS server is verified, as for requests. */
async function connect({ origin, tls: files }: Server): Promise<void> {
  const { protocol, hostname, port } = new URL(origin)
  const host = hostname.replace(/^\[|\]$/g, '')
  const isTls = protocol === 'https:'
  const address = { host, port: Number(port || (isTls ? 443 : 80)) }
  const read = (file: string | undefined, name: string) => (file === undefined ? {} : { [name]: readFileSync(file) })
  const socket = isTls
    ? tls.connect({
        ...address,
        ...(net.isIP(host) === 0 ? { servername: host } : {}),
        ...read(files?.ca, 'ca'),
        ...read(files?.cert, 'cert'),
        ...read(files?.key, 'key'),
      })
    : net.connect(address)
  await new Promise<void>((resolve, reject) => {
    socket.setTimeout(TIMEOUT_MS, () => reject(new Error('no answer')))
    socket.once(isTls ? 'secureConnect' : 'connect', () => resolve())
    socket.once('error', reject)
  }).finally(() => socket.destroy())
}

async function selectOne(url: string): Promise<void> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'portcullis check',
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: TIMEOUT_MS,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('SELECT 1')
  } finally {
    client.end().catch(() => undefined)
  }
}

/** OpenID Connect Discovery §4: the document names the issuer exactly as it is configured. */
async function discover(issuer: string, caFile: string | undefined): Promise<void> {
  const address = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await createBoundedFetch(caFile)(address, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  if (response.status !== 200) throw new Error(`${address} answers ${response.status}`)
  const found = (await response.json().catch(() => {
    throw new Error(`${address} does not answer with JSON`)
  })) as { issuer?: unknown; jwks_uri?: unknown }
  if (found.issuer !== issuer) throw new Error(`${address} names another issuer: ${JSON.stringify(found.issuer ?? null).slice(0, 200)}`)
  if (typeof found.jwks_uri !== 'string') throw new Error(`${address} names no jwks_uri`)
}

async function within(ms: number, work: () => Promise<void>): Promise<void> {
  let end = () => {}
  const late = new Promise<never>((_, reject) => {
    end = startDeadline(ms, () => reject(new Error(`no answer within ${ms / 1000} s`)))
  })
  try {
    await Promise.race([work(), late])
  } finally {
    end()
  }
}
