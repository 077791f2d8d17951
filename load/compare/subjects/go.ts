/** Gateways written in Go, each with one thread for Go code (GOMAXPROCS=1), built by `npm run bench -- --install`. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '../../runner/processes.ts'
import { AUDIENCE } from '../identity.ts'
import type { Environment, Launch, Subject } from './subject.ts'

export interface GoGateway {
  name: string
  does: string
  checksTokens: boolean
  /** Modules and versions; the first version is shown. */
  modules: Record<string, string>
  /** The package to build; `.`: the source beside this file. */
  target: string
  /** How it was built, and which versions were not available (November 2026). */
  tried: string
  prepare(binary: string, environment: Environment): Promise<Omit<Launch, 'env'>>
}

const NO_VERSION = '403 Forbidden, “This module version is not available”'

export const GO_GATEWAYS: GoGateway[] = [
  {
    name: 'caddy',
    does: 'plain proxy, access log; GOMAXPROCS=1',
    checksTokens: false,
    modules: { 'github.com/caddyserver/caddy/v2': 'v2.10.0' },
    target: 'github.com/caddyserver/caddy/v2/cmd/caddy',
    tried: `v2.10.0 is built. It checks no token: github.com/ggicci/caddy-jwt v0.12.0, v1.0.0 and v1.1.0, and xcaddy: ${NO_VERSION}.`,
    async prepare(binary, { folder, port, dependencies }) {
      const file = join(folder, 'Caddyfile')
      writeFileSync(
        file,
        `{
  admin off
  auto_https off
}
http://127.0.0.1:${port} {
  bind 127.0.0.1
  log {
    output file ${join(folder, 'access.log')}
  }
  reverse_proxy ${new URL(dependencies.upstream).host}
}
`,
      )
      return { command: [binary, 'run', '--config', file] }
    },
  },
  {
    name: 'oauth2-proxy',
    does: 'RS256 token by skip-jwt-bearer-tokens against a local OpenID issuer, access log; GOMAXPROCS=1',
    checksTokens: true,
    modules: { 'github.com/oauth2-proxy/oauth2-proxy/v7': 'v7.6.0' },
    target: 'github.com/oauth2-proxy/oauth2-proxy/v7',
    tried: `go install of @latest and of v7.6.0: the list of versions answers ${NO_VERSION}. v7.6.0 is built from a local module that requires it.`,
    async prepare(binary, { port, dependencies: { upstream, identity } }) {
      const options = {
        provider: 'oidc',
        'oidc-issuer-url': identity.issuer,
        'client-id': AUDIENCE,
        'client-secret': 'unused',
        'cookie-secret': 'sixteen bytes...',
        'redirect-url': 'http://127.0.0.1/oauth2/callback',
        'email-domain': '*',
        'http-address': `127.0.0.1:${port}`,
        upstream,
        'skip-jwt-bearer-tokens': 'true',
        'api-route': '^/api',
      }
      const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
      return { command: [binary, ...flags], token: () => identity.tokens.RS256 }
    },
  },
  {
    name: 'krakend',
    does: 'KrakenD’s engine and JWT validator: RS256 token with iss, aud and a role, access log; GOMAXPROCS=1',
    checksTokens: true,
    modules: { 'github.com/luraproject/lura/v2': 'v2.7.0', 'github.com/krakendio/krakend-jose/v2': 'v2.7.0' },
    target: '.',
    tried: `krakend-ce/v2 @latest, v2.6.0 and v2.7.0: ${NO_VERSION}. Its engine (lura v2.7.0) and its validator (krakend-jose v2.7.0) are built with the few lines that join them.`,
    async prepare(binary, { folder, port, dependencies: { upstream, identity } }) {
      const file = join(folder, 'krakend.json')
      const validator = {
        alg: 'RS256',
        jwk_url: identity.jwksUrl,
        disable_jwk_security: true,
        cache: true,
        issuer: identity.issuer,
        audience: [AUDIENCE],
        roles: ['user'],
        roles_key: 'roles',
      }
      const endpoint = {
        endpoint: '/api/x',
        output_encoding: 'no-op',
        input_headers: ['*'],
        backend: [{ url_pattern: '/api/x', encoding: 'no-op' }],
        extra_config: { 'github.com/devopsfaith/krakend-jose/validator': validator },
      }
      writeFileSync(file, JSON.stringify({ version: 3, listen_ip: '127.0.0.1', port, host: [upstream], endpoints: [endpoint] }))
      return { command: [binary, file], token: () => identity.tokens.RS256 }
    },
  },
  {
    name: 'oathkeeper',
    does: 'RS256 token with iss and aud by a local key set, identity header, access log; GOMAXPROCS=1',
    checksTokens: true,
    modules: { 'github.com/ory/oathkeeper': 'v0.40.9' },
    target: 'github.com/ory/oathkeeper',
    tried: `go install of @latest and of v0.40.9: the list of versions answers ${NO_VERSION}. v0.40.9 is built from a local module that requires it.`,
    async prepare(binary, { folder, port, adminPort, dependencies: { upstream, identity } }) {
      const [metricsPort] = await freePorts(1)
      const rules = join(folder, 'rules.json')
      const file = join(folder, 'oathkeeper.json')
      const rule = {
        id: 'api',
        match: { url: `http://127.0.0.1:${port}/<.*>`, methods: ['GET'] },
        upstream: { url: upstream },
        authenticators: [{ handler: 'jwt' }],
        authorizer: { handler: 'allow' },
        mutators: [{ handler: 'header' }],
      }
      const config = {
        serve: {
          proxy: { host: '127.0.0.1', port },
          api: { host: '127.0.0.1', port: adminPort },
          prometheus: { host: '127.0.0.1', port: metricsPort },
        },
        access_rules: { repositories: [`file://${rules}`] },
        authenticators: {
          jwt: {
            enabled: true,
            config: { jwks_urls: [identity.jwksUrl], trusted_issuers: [identity.issuer], target_audience: [AUDIENCE] },
          },
        },
        authorizers: { allow: { enabled: true } },
        mutators: { header: { enabled: true, config: { headers: { 'X-Auth-User': '{{ print .Subject }}' } } } },
      }
      writeFileSync(rules, JSON.stringify([rule]))
      writeFileSync(file, JSON.stringify(config))
      return {
        command: [binary, 'serve', '--config', file],
        readyUrl: `http://127.0.0.1:${adminPort}/health/ready`,
        token: () => identity.tokens.RS256,
      }
    },
  },
]

/** Gateways that could not be built. */
export const REFUSED = [
  {
    name: 'traefik',
    tried: `v3.7.13: go install refuses modules with replace directives; from a local module with the same ones, go-acme/lego/v5 v5.4.1 and containous/go-http-auth, which it needs: ${NO_VERSION}.`,
  },
  { name: 'pomerium', tried: `@latest and v0.27.0: ${NO_VERSION}.` },
]

export const goSubjects = (bin: string): Subject[] =>
  GO_GATEWAYS.map(({ name, does, checksTokens, modules, tried, prepare }) => ({
    name,
    does,
    checksTokens,
    tried,
    needs: [{ command: join(bin, name), install: 'npm run bench -- --install' }],
    version: () => Object.values(modules)[0]!,
    prepare: async (environment) => ({ ...(await prepare(join(bin, name), environment)), env: { GOMAXPROCS: '1' } }),
  }))
