/** Other Node subjects: without features, with the minimum, and with the libraries as their documentation shows them. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { AUDIENCE } from '../identity.ts'
import { PLENTY } from './gateway.ts'
import { REDIS } from './needs.ts'
import type { Environment, Subject } from './subject.ts'

const script = (name: string) => [process.execPath, fileURLToPath(new URL(`./${name}.server.ts`, import.meta.url))]
const settings = ({ port, dependencies }: Environment) => ({ PORT: String(port), UPSTREAM: dependencies.upstream })

function packageVersion(name: string): string {
  const file = new URL(`../../../node_modules/${name}/package.json`, import.meta.url)
  return `${name} ${JSON.parse(readFileSync(file, 'utf8')).version}`
}

export const bare: Subject = {
  name: 'bare',
  does: 'Fastify and @fastify/http-proxy, nothing else',
  checksTokens: false,
  version: () => [packageVersion('fastify'), packageVersion('@fastify/http-proxy')].join(', '),
  prepare: async (environment) => ({ command: script('bare'), env: settings(environment) }),
}

export const raw: Subject = {
  name: 'raw',
  does: 'node:http and undici, headers and bodies passed on unchanged: the floor of this runtime',
  checksTokens: false,
  version: () => [`Node ${process.version}`, packageVersion('undici')].join(', '),
  prepare: async (environment) => ({ command: script('raw'), env: settings(environment) }),
}

export const naive: Subject = {
  name: 'naive',
  does: 'the same duties from the libraries’ documentation: EdDSA token, role, two limits in Redis, identity headers, metrics, access log',
  checksTokens: true,
  needs: [REDIS],
  version: () => ['fastify', '@fastify/http-proxy', 'jose', 'rate-limiter-flexible', 'prom-client', 'pino'].map(packageVersion).join(', '),
  async prepare(environment) {
    const { identity, redis } = environment.dependencies
    const { limit, windowSeconds } = PLENTY
    return {
      command: script('naive'),
      env: {
        ...settings(environment),
        REDIS_URL: await redis(),
        ISSUER: identity.issuer,
        AUDIENCE,
        PUBLIC_KEY: identity.publicKeys.EdDSA,
        LIMIT: String(limit),
        WINDOW_SECONDS: String(windowSeconds),
      },
      token: () => identity.tokens.EdDSA,
    }
  },
}
