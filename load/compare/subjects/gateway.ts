/** The gateway of this checkout with everything on; and the same with one part taken away in turn. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { REDIS } from './needs.ts'
import type { Place, Subject } from './subject.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Never reached. */
export const PLENTY = { limit: 10_000_000, windowSeconds: 60 }

const configuration = ({ port, adminPort, neighbours, folder }: Place, redis: string, database: string | null) => ({
  server: { host: '127.0.0.1', port, publicUrl: `http://127.0.0.1:${port}`, workers: 1 },
  admin: { host: '127.0.0.1', port: adminPort },
  database: { url: database ?? 'embedded', dataDir: join(folder, 'data') },
  redis: { url: redis },
  // a token lasts for a run of any length
  tokens: { algorithm: 'EdDSA', accessTtlSeconds: 86_400 },
  limits: {
    credentials: { register: { limit: 1000, windowSeconds: 60 } },
    policies: { perAddress: { ...PLENTY, key: 'client' }, perUser: { ...PLENTY, key: 'principal' } },
    exempt: [] as string[],
  },
  log: { level: 'info', sample: 1 },
  routes: [
    {
      name: 'api',
      match: { path: '/api' },
      upstream: [neighbours.upstream],
      access: { roles: ['user'] } as object | string,
      limits: ['perAddress', 'perUser'],
    },
  ],
})

export type Configuration = ReturnType<typeof configuration>

export interface Variant {
  name: string
  does: string
  /** Where configuration can take it away. */
  change?: (config: Configuration) => void
  /** Where it cannot: a name of without.ts. */
  without?: string
  isPublic?: boolean
  nodeArgs?: string[]
}

export function gatewayVariant({ name, does, change, without, isPublic = false, nodeArgs = [] }: Variant): Subject {
  const stub = without ? ['--import', here('../without.ts')] : []
  return {
    name,
    does,
    checksTokens: !isPublic,
    needs: [REDIS],
    version: checkedOut,
    async prepare(place) {
      const { folder, port, adminPort, neighbours } = place
      const config = configuration(place, await neighbours.redis(), await neighbours.database())
      change?.(config)
      const file = join(folder, 'portcullis.yaml')
      // JSON is YAML
      writeFileSync(file, JSON.stringify(config, null, 2))
      return {
        command: [process.execPath, ...nodeArgs, ...stub, here('../../../src/cli.ts'), 'serve', '--config', file],
        env: { PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'), ...(without ? { WITHOUT: without } : {}) },
        readyUrl: `http://127.0.0.1:${adminPort}/readyz`,
        ...(isPublic ? {} : { token: () => registerUser(`http://127.0.0.1:${port}`, 'user') }),
      }
    },
  }
}

/** @returns its access token */
export async function registerUser(url: string, username: string): Promise<string> {
  const answer = await fetch(`${url}/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, email: `${username}@example.com`, password: 'correct horse battery staple' }),
  })
  if (answer.status !== 201) throw new Error(`a registration was answered ${answer.status}: ${await answer.text()}`)
  return ((await answer.json()) as { access_token: string }).access_token
}

const git = (...args: string[]) => execFileSync('git', args, { cwd: here('.'), encoding: 'utf8' }).trim()
const checkedOut = () => git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--', '../../../src') ? ' with changes' : '')

const route = (config: Configuration) => config.routes[0]!

export const gateway = gatewayVariant({
  name: 'gateway',
  does: 'everything on: EdDSA token, role, two limits in Redis, revocation, identity headers, metrics, access log',
})

/** What each part costs. */
export const ablations: Subject[] = [
  {
    name: 'without-limits',
    does: 'both rate limits',
    change: (c: Configuration) => {
      route(c).limits = []
    },
  },
  {
    name: 'without-second-limit',
    does: 'the limit by address',
    change: (c: Configuration) => {
      route(c).limits = ['perUser']
    },
  },
  {
    name: 'without-redis',
    does: 'Redis: limits counted in memory',
    change: (c: Configuration) => {
      c.redis.url = 'memory'
    },
  },
  {
    name: 'without-authentication',
    does: 'the token, and with it role, revocation, identity headers and the limit by user',
    isPublic: true,
    change: (c: Configuration) => {
      route(c).access = 'public'
    },
  },
  {
    name: 'without-roles',
    does: 'the role: any user may call',
    change: (c: Configuration) => {
      route(c).access = 'authenticated'
    },
  },
  {
    name: 'without-log',
    does: 'the access log',
    change: (c: Configuration) => {
      c.log.sample = 0
    },
  },
  { name: 'without-observation', does: 'access log, metrics and the watch over the end of each request', without: 'observation' },
  { name: 'without-canonical', does: 'the strict reading of target and headers', without: 'canonical' },
  { name: 'without-revocation', does: 'the look at what is revoked', without: 'revocation' },
  { name: 'without-identity', does: 'the identity headers', without: 'identity' },
].map(gatewayVariant)
