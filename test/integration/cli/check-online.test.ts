/** `check --online` asks real servers; and what `check` reads from a certificate. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Authority, createAuthority } from '../../support/certificates.ts'
import { runCli } from '../../support/cli.ts'
import { type ExternalIssuer, startExternalIssuer } from '../../support/external-issuer.ts'
import { type FakeProvider, startFakeProvider } from '../../support/fake-provider.ts'
import { type MailServer, startMailServer } from '../../support/mail-server.ts'
import { freePort } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-online-'))
let count = 0
const fileWith = (config: object) => {
  const file = join(dir, `${count++}.json`)
  writeFileSync(file, JSON.stringify(config))
  return file
}

let authority: Authority
let upstream: Upstream
let secure: https.Server
let mail: MailServer
let provider: FakeProvider
let other: ExternalIssuer
/** Accepts connections and never answers. */
let silent: net.Server
beforeAll(async () => {
  authority = await createAuthority()
  const issued = await authority.issue(['localhost'])
  upstream = await startUpstream()
  secure = https.createServer({ cert: issued.cert, key: issued.key }).listen(0, '127.0.0.1')
  mail = await startMailServer()
  provider = await startFakeProvider()
  other = await startExternalIssuer()
  silent = net.createServer(() => {}).listen(0, '127.0.0.1')
})
afterAll(async () => {
  await Promise.all([upstream.close(), mail.close(), provider.close(), other.close()])
  secure.close()
  silent.close()
  authority.close()
  rmSync(dir, { recursive: true, force: true })
})
const portOf = (server: net.Server) => (server.address() as AddressInfo).port

interface Servers {
  upstreams: (string | object)[]
  database?: string
  redis?: string
  mailUrl?: string
  issuer?: string
  /** Entries of `issuers`. */
  others?: object[]
}
const configOf = ({ upstreams, database = 'embedded', redis = 'memory', mailUrl, issuer, others = [] }: Servers) => ({
  database: { url: database },
  redis: { url: redis },
  issuers: others,
  ...(mailUrl === undefined ? {} : { mail: { url: mailUrl } }),
  ...(issuer === undefined
    ? {}
    : {
        auth: {
          browser: { enabled: true },
          providers: [{ id: 'company', kind: 'oidc', issuer, clientId: 'x', clientSecretEnv: 'COMPANY_SECRET' }],
        },
      }),
  routes: [{ name: 'a', match: { path: '/a' }, upstream: upstreams, access: 'public' }],
})
const online = async (servers: Servers, ...more: string[]) => {
  const { code, stdout, stderr } = await runCli(['check', fileWith(configOf(servers)), '--online', '--json', ...more])
  return {
    code,
    stderr,
    result: JSON.parse(stdout) as { ok: boolean; servers: { name: string; question: string; ok: boolean; fault?: string }[] },
  }
}

describe('check --online', () => {
  it('every server answers', async () => {
    const { code, result } = await online({
      upstreams: [upstream.url, { url: `https://localhost:${portOf(secure)}`, tls: { ca: authority.certFile } }],
      database: inject('postgresUrl'),
      redis: inject('redisUrl'),
      mailUrl: mail.url,
      issuer: provider.issuer,
    })
    expect(result.servers.map(({ question, ok, fault }) => [question, ok, fault])).toEqual([
      ['TCP', true, undefined],
      ['TLS', true, undefined],
      ['SELECT 1', true, undefined],
      ['PING', true, undefined],
      ['EHLO', true, undefined],
      ['discovery', true, undefined],
    ])
    expect([code, result.ok]).toEqual([0, true])
    expect(upstream.take()).toEqual([])
    expect(mail.mails).toEqual([])
  })

  it('servers that are away are all named, with exit code 1, and no password is shown', async () => {
    const port = await freePort()
    const { code, stderr, result } = await online({
      upstreams: [`http://127.0.0.1:${port}`, `https://localhost:${portOf(secure)}`],
      database: `postgres://user:open-sesame@127.0.0.1:${port}/x`,
      redis: `redis://:open-sesame@127.0.0.1:${port}`,
      mailUrl: `smtp://user:open-sesame@127.0.0.1:${port}`,
      issuer: `http://127.0.0.1:${port}`,
    })
    expect(code).toBe(1)
    expect(result).toMatchObject({ ok: false, problems: [] })
    expect(result.servers.map(({ ok }) => ok)).toEqual([false, false, false, false, false, false])
    expect(result.servers[0]!.fault).toContain('ECONNREFUSED')
    // its certificate is of an authority that nobody has named
    expect(result.servers[1]!.fault).toMatch(/certificate|unable to verify/i)
    expect(JSON.stringify(result) + stderr).not.toContain('sesame')
  })

  it('a server that says nothing is given up', async () => {
    const port = portOf(silent)
    const { code, result } = await online({
      upstreams: [{ url: `https://127.0.0.1:${port}` }],
      database: `postgres://user@127.0.0.1:${port}/x`,
      redis: `redis://127.0.0.1:${port}`,
      mailUrl: `smtp://127.0.0.1:${port}`,
      issuer: `http://127.0.0.1:${port}`,
    })
    expect(code).toBe(1)
    for (const server of result.servers) expect(server, server.name).toMatchObject({ ok: false, fault: expect.stringMatching(/\w/) })
  })

  it('an issuer that answers HTML, or that names another issuer, is no issuer', async () => {
    provider.everything = (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>')
    const ask = async (issuer: string) => (await online({ upstreams: [upstream.url], issuer })).result.servers.at(-1)!.fault
    expect(await ask(provider.issuer)).toContain('does not answer with JSON')
    provider.everything = null
    expect(await ask(`${provider.issuer}/`)).toContain('names another issuer')
  })

  describe('other issuers of tokens', () => {
    const ask = async (...others: object[]) => {
      const { code, result } = await online({ upstreams: [upstream.url], others })
      return { code, servers: result.servers.slice(1) }
    }

    it('answer with their keys, by jwksUri or by their discovery document', async () => {
      const found = other.settings({ id: 'found', jwksUri: undefined, issuer: other.issuer })
      // one issuer has one entry: each is asked alone
      for (const [settings, paths] of [
        [other.settings(), ['/jwks']],
        [found, ['/.well-known/openid-configuration', '/jwks']],
      ] as const) {
        other.seen = []
        const { code, servers } = await ask(settings)
        expect(servers).toEqual([{ name: `issuer ${settings.id} ${other.issuer}`, question: 'key set', ok: true }])
        expect(code).toBe(0)
        expect(other.seen.map(({ path }) => path)).toEqual(paths)
      }
    })

    it.each<[what: string, answers: () => void, fault: string]>([
      [
        'HTML',
        () => {
          other.everything = (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>')
        },
        'jwksUri answered text/html, expected a JSON key set',
      ],
      [
        '404',
        () => {
          other.everything = (response) => response.writeHead(404).end()
        },
        'jwksUri answered status 404, expected a JSON key set',
      ],
      [
        'JSON that is no key set',
        () => {
          other.publish = () => ({ hello: 'world' })
        },
        'answered JSON without a list of keys, expected a JSON key set',
      ],
      [
        'a key set without a key that could verify',
        () => {
          other.publish = () => ({ keys: [] })
        },
        'answered a key set without a key for ES256',
      ],
    ])('an issuer that answers %s is named with what is wrong', async (_, answers, fault) => {
      answers()
      try {
        const { code, servers } = await ask(other.settings())
        expect(servers).toMatchObject([{ name: `issuer work ${other.issuer}`, ok: false, fault: expect.stringContaining(fault) }])
        expect(code).toBe(1)
      } finally {
        other.everything = null
        other.publish = null
      }
    })

    it('an issuer that is away, or says nothing, is named, and the others are asked', async () => {
      const gone = { issuer: `http://127.0.0.1:${await freePort()}`, jwksUri: undefined, id: 'gone' }
      const mute = { issuer: 'https://mute.example', jwksUri: `http://127.0.0.1:${portOf(silent)}/jwks`, id: 'mute' }
      const { code, servers } = await ask(other.settings(), other.settings(gone), other.settings(mute))
      expect(servers.map(({ ok }) => ok)).toEqual([true, false, false])
      expect(servers[1]!.fault).toMatch(/the discovery document cannot be read: .*ECONNREFUSED/)
      expect(servers[2]!.fault).toContain('no answer within 3 s')
      expect(code).toBe(1)
    })

    it('the text names the setting and the cause', async () => {
      const file = fileWith(configOf({ upstreams: [upstream.url], others: [other.settings({ jwksUri: `${other.issuer}/nowhere` })] }))
      const ran = await runCli(['check', file, '--online'])
      expect(ran.code).toBe(1)
      expect(ran.stderr).toContain(`issuer work ${other.issuer}: does not answer (key set): jwksUri answered status 404`)
    })
  })

  it('the text names what answers and what does not; the configuration is checked first', async () => {
    const file = fileWith(configOf({ upstreams: [upstream.url, `http://127.0.0.1:${await freePort()}`] }))
    const ran = await runCli(['check', file, '--online'])
    expect(ran.code).toBe(1)
    expect(ran.stdout).toBe(`the configuration is valid\nupstream ${upstream.url}: answers (TCP)\n`)
    expect(ran.stderr).toMatch(/^upstream http:\/\/127\.0\.0\.1:\d+: does not answer \(TCP\): connect ECONNREFUSED/m)
    expect((await runCli(['check', fileWith({ routes: 1 }), '--online'])).code).toBe(2)
  })
})

describe('the certificate of the listener', () => {
  const warnings = async (publicUrl: string, cert: string, host?: string) => {
    const { stdout } = await runCli([
      'check',
      fileWith({
        server: { publicUrl, tls: { cert, key: cert.replace('.pem', '.key') } },
        routes: [{ name: 'a', match: { path: '/a', ...(host && { host }) }, upstream: [upstream.url], access: 'public' }],
      }),
      '--json',
    ])
    return (JSON.parse(stdout).warnings as string[]).join('\n')
  }

  it('covers server.publicUrl and the hosts of routes, or each is named', async () => {
    const { certFile } = await authority.issue(['api.example.com', '*.shop.example.com'])
    expect(await warnings('https://api.example.com', certFile, 'www.shop.example.com')).toBe('')
    expect(await warnings('https://127.0.0.1:8443', certFile)).toBe('')
    const wrong = await warnings('https://www.example.com', certFile, 'a.b.shop.example.com')
    expect(wrong).toContain('server.publicUrl: the certificate of server.tls does not cover www.example.com')
    expect(wrong).toContain('routes[0].match.host: the certificate of server.tls does not cover a.b.shop.example.com')
    expect(await warnings('http://api.example.com', certFile)).toContain('is plain http, although server.tls')
  })
})
