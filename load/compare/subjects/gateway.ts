/** The gateway of this checkout with everything on, and variants with one part removed. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { REDIS } from './needs.ts'
import type { Environment, Subject } from './subject.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Never reached. */
export const PLENTY = { limit: 10_000_000, windowSeconds: 60 }

const configuration = ({ port, adminPort, dependencies, folder }: Environment, redis: string, database: string | null) => ({
  server: { host: '127.0.0.1', port, publicUrl: `http://127.0.0.1:${port}`, workers: 1 },
  admin: { host: '127.0.0.1', port: adminPort },
  database: { url: database ?? 'embedded', dataDir: join(folder, 'data') },
  redis: { url: redis },
  // a token is valid for a run of any length
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
      upstream: [dependencies.upstream],
      access: { roles: ['user'] } as object | string,
      limits: ['perAddress', 'perUser'],
    },
  ],
})

export type Configuration = ReturnType<typeof configuration>

export interface Variant {
  name: string
  does: string
  /** Removes the part by configuration. */
  change?: (config: Configuration) => void
  /** Removes a part that configuration cannot remove: a name of without.ts. */
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
    async doubt(adminPort) {
      const share = await shareWithoutRedis(adminPort)
      return share > 0.001 ? `${(share * 100).toFixed(1)} % of its limits were decided while Redis did not answer in time` : ''
    },
    async prepare(environment) {
      const { folder, port, adminPort, dependencies } = environment
      const config = configuration(environment, await dependencies.redis(), await dependencies.database())
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

/** The share of limit decisions that were made without Redis because it was away. */
export async function shareWithoutRedis(adminPort: number): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
  let [all, without] = [0, 0]
  for (const [, tier, count] of metrics.matchAll(/^portcullis_limit_decisions_total\{.*tier="(\w+)".*\} (\S+)/gm)) {
    all += Number(count)
    if (['local', 'database', 'open', 'closed'].includes(tier!)) without += Number(count)
  }
  return all && without / all
}

function checkedOut(): string {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: here('.'), encoding: 'utf8' }).stdout?.trim() ?? ''
  const isChanged = git('status', '--porcelain', '--', here('../../../src')) !== ''
  return (git('rev-parse', '--short', 'HEAD') || 'unknown') + (isChanged ? ' with changes' : '')
}

const route = (config: Configuration) => config.routes[0]!

export const gateway = gatewayVariant({
  name: 'gateway',
  does: 'everything on: EdDSA token, role, two limits in Redis, revocation, identity headers, metrics, access log',
})

/** One variant for each part. */
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
  { name: 'without-observation', does: 'access log, metrics and the observation of the end of each request', without: 'observation' },
  { name: 'without-canonical', does: 'the strict reading of target and headers', without: 'canonical' },
  { name: 'without-revocation', does: 'the check for revocation', without: 'revocation' },
  { name: 'without-identity', does: 'the identity headers', without: 'identity' },
].map(gatewayVariant)
