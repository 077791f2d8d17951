/** The configuration is read again while the gateway serves. */
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { createAdminServer } from '../../../src/app/admin-server.ts'
import { watchFiles } from '../../../src/platform/lib/watch-files.ts'
import { createAuthority } from '../../support/certificates.ts'
import { runCli } from '../../support/cli.ts'
import { call, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { consoleOf } from '../../support/console.ts'
import { type Gateway, metric, startGateway } from '../../support/gateway.ts'
import { newKey } from '../../support/keys.ts'
import { until } from '../../support/processes.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let other: Upstream
let gateway: Gateway
let user: TestUser
const events: ServerResponse[] = []
const sockets = new WebSocketServer({ noServer: true })
const streaming = http.createServer((_req, res) => {
  res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: one\n\n')
  events.push(res)
})
streaming.on('upgrade', (req, socket, head) =>
  sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`))),
)
let streamUrl: string

const route = (name: string, part: object = {}) => ({
  name,
  match: { path: `/${name}` },
  upstream: [upstream.url],
  access: 'public',
  ...part,
})
const streams = (name: string, part: object = {}) =>
  route(name, { upstream: [streamUrl], websocket: true, access: 'authenticated', ...part })
const baseRoutes = () => [route('a'), streams('live'), streams('touched')]

beforeAll(async () => {
  ;[upstream, other] = await Promise.all([startUpstream(), startUpstream()])
  streaming.listen(0, '127.0.0.1')
  await once(streaming, 'listening')
  streamUrl = `http://127.0.0.1:${(streaming.address() as AddressInfo).port}`
  gateway = await startGateway({ routes: baseRoutes() })
  user = await newUser(gateway)
})
afterAll(async () => {
  await gateway.close()
  streaming.closeAllConnections()
  streaming.close()
  await Promise.all([upstream.close(), other.close()])
})
afterEach(async () => {
  expect(await gateway.reload({ routes: baseRoutes() })).toMatchObject({ status: 'reloaded' })
})

async function openSocket(path: string): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, { headers: { authorization: `Bearer ${user.token}` } })
  await once(socket, 'open')
  return socket
}
async function echo(socket: WebSocket): Promise<string> {
  socket.send('hello')
  const [data] = await once(socket, 'message')
  return String(data)
}

describe('a reload', () => {
  it('puts routes, CORS, headers and limits in force', async () => {
    expect((await call(gateway, '/new')).status).toBe(404)
    const result = await gateway.reload({
      routes: [
        route('a', { headers: { response: { set: { 'x-version': 'two' } } }, limits: ['tight'] }),
        route('new', { upstream: [other.url] }),
      ],
      config: {
        cors: { origins: ['https://app.example'] },
        limits: { exempt: [], policies: { tight: { limit: 2, windowSeconds: 60, key: 'client' } } },
      },
    })
    expect(result).toEqual({ status: 'reloaded', needsRestart: [], warnings: expect.any(Array) })
    other.take()
    expect((await call(gateway, '/new')).status).toBe(200)
    expect(other.take()).toHaveLength(1)
    const { headers } = await call(gateway, '/a', { headers: { origin: 'https://app.example' } })
    expect([headers.get('x-version'), headers.get('access-control-allow-origin')]).toEqual(['two', 'https://app.example'])
    expect([(await call(gateway, '/a')).status, (await call(gateway, '/a')).status]).toEqual([200, 429])
  })

  it('keeps the counts of limits that did not change', async () => {
    const limited = (more: Record<string, unknown>[] = []) => ({
      routes: [route('counted', { limits: ['three'] }), ...more],
      config: { limits: { exempt: [], policies: { three: { limit: 3, windowSeconds: 60, key: 'client' } } } },
    })
    await gateway.reload(limited())
    expect((await call(gateway, '/counted')).headers.get('ratelimit')).toContain('r=2')
    await gateway.reload(limited([route('more')]))
    expect((await call(gateway, '/counted')).headers.get('ratelimit')).toContain('r=1')
  })

  it('believes proxies by the new networks, also on connections that are open', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const ask = async () => {
      const request = http.get(`${gateway.url}/a`, { agent, headers: { 'x-forwarded-for': '192.0.2.7' } })
      const [answer] = await once(request, 'response')
      const { headers } = JSON.parse((await answer.toArray()).join(''))
      return [headers['x-forwarded-for'], request.reusedSocket]
    }
    expect(await ask()).toEqual(['127.0.0.1', false])
    await gateway.reload({ routes: [route('a')], config: { server: { trustedProxies: ['127.0.0.1/32'] } } })
    expect(await ask()).toEqual(['192.0.2.7, 127.0.0.1', true])
    agent.destroy()
  })

  it('changes the level of the log, and what is logged', async () => {
    const lines = () => gateway.log().filter(({ msg, route }) => msg === 'request' && route === 'a').length
    const before = lines()
    await gateway.reload({ routes: baseRoutes(), config: { log: { skip: ['/a'] } } })
    await call(gateway, '/a')
    await gateway.reload({ routes: baseRoutes() })
    await call(gateway, '/a')
    await until(() => lines() > before, 'the line')
    expect(lines()).toBe(before + 1)
  })

  it('names what needs a restart, which keeps its old value', async () => {
    const result = await gateway.reload({ routes: [route('b')], config: { server: { port: 1 }, tokens: { accessTtlSeconds: 77 } } })
    expect(result).toMatchObject({ status: 'reloaded', needsRestart: ['server.port', 'tokens.accessTtlSeconds'] })
    expect((await call(gateway, '/b')).status).toBe(200)
    expect(gateway.app.platform.config.tokens.accessTtlSeconds).toBe(900)
    expect(gateway.log().findLast(({ reason }) => reason === 'config_needs_restart')).toMatchObject({
      settings: ['server.port', 'tokens.accessTtlSeconds'],
    })
  })

  it('refuses a configuration that does not fit what needs a restart', async () => {
    const browser = { enabled: true }
    const pages = await startGateway({ config: { auth: { browser } } })
    const result = await pages.reload({
      config: { server: { publicUrl: 'https://shop.example' }, auth: { browser: { ...browser, origins: ['https://app.shop.example'] } } },
    })
    await pages.close()
    expect(result).toMatchObject({
      status: 'refused',
      problems: [expect.stringMatching(/until a restart changes server\.publicUrl.*origins/)],
    })
  })

  it('that is refused changes nothing, and says what is wrong in the log and the metrics', async () => {
    const before = await metric(gateway, 'portcullis_config_last_reload_timestamp_seconds')
    const result = await gateway.reload({ routes: [route('a', { acess: 'public' })] })
    expect(result).toMatchObject({
      status: 'refused',
      problems: [expect.stringMatching(/routes\[0\]\.acess: unknown key.*did you mean access/)],
    })
    expect((await call(gateway, '/a')).status).toBe(200)
    expect(gateway.log().findLast(({ reason }) => reason === 'config_refused')).toMatchObject({
      level: 'error',
      problems: [expect.stringContaining('did you mean access')],
    })
    expect(await metric(gateway, 'portcullis_config_last_reload_success')).toBe(0)
    gateway.clock.advance(1000)
    await gateway.reload({ routes: baseRoutes() })
    expect(await metric(gateway, 'portcullis_config_last_reload_success')).toBe(1)
    expect(await metric(gateway, 'portcullis_config_last_reload_timestamp_seconds')).toBeGreaterThan(before)
  })

  it('of an empty file is refused: it may be a file that is just being written', async () => {
    writeFileSync(gateway.file, '\n')
    expect(await gateway.app.reloader!.reload('files')).toMatchObject({
      status: 'refused',
      problems: [expect.stringContaining('is empty')],
    })
    expect((await call(gateway, '/a/x')).status).toBe(200)
  })

  it('never removes the last route: the file may not be completely written', async () => {
    expect(await gateway.reload({ routes: [] })).toEqual({
      status: 'refused',
      problems: [
        'routes: there are none, and the gateway has 3; perhaps the file is not completely written; to run the gateway without routes, restart it',
      ],
    })
    expect((await call(gateway, '/a')).status).toBe(200)
  })

  it('warns of what the settings that stay make of the new routes', async () => {
    const result = await gateway.reload({ routes: [route('a'), route('auth')], config: { auth: { prefix: '/account' } } })
    expect(result).toMatchObject({ status: 'reloaded', needsRestart: ['auth.prefix'] })
    expect((result as { warnings: string[] }).warnings.join()).toMatch(/until a restart changes auth\.prefix: routes\[1\]/)
  })

  it('shows the sha of the configuration in force', async () => {
    const shas = async () =>
      [...(await (await fetch(`${gateway.adminUrl}/metrics`)).text()).matchAll(/config_info\{sha="(\w+)"\} 1/g)].map(([, sha]) => sha)
    const [before] = await shas()
    await gateway.reload({ routes: [route('sha')] })
    const after = await shas()
    expect(after).toHaveLength(1)
    expect(after[0]).not.toBe(before)
  })

  it('of files that are not there is refused', async () => {
    const result = await gateway.reload({
      routes: [route('a', { upstream: [{ url: 'https://127.0.0.1:1', tls: { ca: '/nowhere/ca.pem' } }] })],
    })
    expect(result).toMatchObject({
      status: 'refused',
      problems: [expect.stringMatching(/routes\[0\]\.upstream\[0\]\.tls\.ca: there is no \/nowhere/)],
    })
  })

  it('that is asked for during a reload follows it, once', async () => {
    const { reload } = gateway.app.reloader!
    const results = [reload('SIGHUP'), reload('SIGHUP'), reload('files')]
    expect(results[1]).toBe(results[2])
    expect((await Promise.all(results)).map(({ status }) => status)).toEqual(['reloaded', 'reloaded', 'reloaded'])
  })
})

describe('open streams', () => {
  it('of untouched routes go on; those of changed routes end', async () => {
    const [live, touched] = await Promise.all([openSocket('/live'), openSocket('/touched')])
    const closed = once(touched, 'close')
    await gateway.reload({
      routes: [route('a'), streams('live', { timeouts: { headersMs: 5000 } }), streams('touched', { access: { roles: ['admin'] } })],
    })
    const [code, reason] = await closed
    expect([code, String(reason)]).toEqual([1012, 'configuration changed'])
    expect(await echo(live)).toBe('echo hello')
    expect(await metric(gateway, 'portcullis_streams_closed_total', { reason: 'reloaded' })).toBeGreaterThan(0)
    live.close()
  })

  it.each([
    ['another upstream', () => [streams('touched', { upstream: [other.url] })]],
    ['other networks', () => [streams('touched', { networks: { deny: ['192.0.2.0/24'] } })]],
    ['no such route', () => [route('a')]],
    [
      'a nearer route',
      () => [streams('touched'), { ...streams('nearer', { access: { roles: ['admin'] } }), match: { path: '/touched/x' } }],
    ],
  ])('end for %s', async (_what, routes) => {
    const socket = await openSocket('/touched/x')
    const closed = once(socket, 'close')
    await gateway.reload({ routes: routes() })
    expect((await closed)[0]).toBe(1012)
  })

  it('of events go on, with one answer before and after', async () => {
    const known = events.length
    const answer = await fetch(`${gateway.url}/live`, { headers: { authorization: `Bearer ${user.token}` } })
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader()
    expect((await reader.read()).value).toBe('data: one\n\n')
    await gateway.reload({ routes: [streams('live')] })
    events[known]!.write('data: two\n\n')
    expect((await reader.read()).value).toBe('data: two\n\n')
    events[known]!.end()
    expect((await reader.read()).done).toBe(true)
  })

  it('end when the roles of their user grant something else', async () => {
    const socket = await openSocket('/live')
    const closed = once(socket, 'close')
    await gateway.reload({
      routes: baseRoutes(),
      config: { auth: { roles: { user: { inherits: [], scopes: ['read'] }, admin: { inherits: ['user'] } } } },
    })
    expect((await closed)[0]).toBe(1012)
  })
})

describe('requests in flight', () => {
  it('none of hundreds fails during many reloads', async () => {
    let isDone = false
    const agent = new http.Agent({ keepAlive: true })
    const statuses = new Map<number | string, number>()
    const client = async () => {
      while (!isDone) {
        const request = http.get(`${gateway.url}/a`, { agent })
        const status = await once(request, 'response').then(
          async ([answer]) => {
            await answer.resume().toArray()
            return answer.statusCode as number
          },
          (error: Error) => error.message,
        )
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    }
    const clients = Array.from({ length: 8 }, client)
    for (let i = 0; i < 15; i++) await gateway.reload({ routes: [...baseRoutes(), ...(i % 2 ? [route('extra')] : [])] })
    await until(() => (statuses.get(200) ?? 0) > 300, 'hundreds of requests')
    isDone = true
    await Promise.all(clients)
    agent.destroy()
    expect([...statuses.keys()]).toEqual([200])
  })

  it('finish under the old configuration', async () => {
    let release: (() => void) | undefined
    const slow = await startUpstream(async (_req, res) => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      res.end('late')
      return true
    })
    await gateway.reload({ routes: [route('slow', { upstream: [slow.url] })] })
    const answer = fetch(`${gateway.url}/slow`)
    await until(() => release !== undefined, 'the request')
    await gateway.reload({ routes: baseRoutes() })
    release!()
    expect(await (await answer).text()).toBe('late')
    expect((await call(gateway, '/slow')).status).toBe(404)
    await slow.close()
  })

  it('keep the connections of an upstream that did not change', async () => {
    let accepted = 0
    const count = () => accepted++
    upstream.server.on('connection', count)
    await gateway.reload({ routes: [route('kept')] })
    await call(gateway, '/kept')
    await gateway.reload({ routes: [route('first'), route('kept', { headers: { response: { set: { 'x-new': '1' } } } })] })
    expect((await call(gateway, '/kept')).headers.get('x-new')).toBe('1')
    upstream.server.off('connection', count)
    expect(accepted).toBe(1)
  })
})

it('an API key has the scopes of the new roles at once', async () => {
  const roles = (scopes: string[]) => ({ auth: { roles: { user: { inherits: [], scopes }, admin: { inherits: ['user'], scopes: [] } } } })
  const routes = [route('scoped', { access: { scopes: ['orders'] } })]
  await gateway.reload({ routes, config: roles(['orders']) })
  const { key } = await newKey(gateway, user, { scopes: ['orders'] })
  const ask = async () => (await call(gateway, '/scoped', { headers: { 'x-api-key': key } })).status
  expect([await ask(), await ask()]).toEqual([200, 200])
  await gateway.reload({ routes, config: roles([]) })
  expect(await ask()).toBe(403)
})

it('a token has the scopes of the new roles at once', async () => {
  const roles = (scopes: string[]) => ({ auth: { roles: { user: { inherits: [], scopes }, admin: { inherits: ['user'], scopes: [] } } } })
  const routes = [route('scoped', { access: { scopes: ['orders'] } })]
  await gateway.reload({ routes, config: roles(['orders']) })
  const { token } = await newUser(gateway)
  const ask = async () => (await call(gateway, '/scoped', { token })).status
  expect([await ask(), await ask()]).toEqual([200, 200])
  await gateway.reload({ routes, config: roles([]) })
  expect(await ask()).toBe(403)
  await gateway.reload({ routes, config: roles(['orders']) })
  expect(await ask()).toBe(200)
})

describe('POST /reload on the admin listener', () => {
  const post = (headers: Record<string, string> = {}) => call({ url: gateway.adminUrl }, '/reload', { method: 'POST', headers })

  it('reloads', async () => {
    expect(await post()).toMatchObject({ status: 200, body: { status: 'reloaded', needs_restart: [] } })
    expect((await post({ 'sec-fetch-site': 'none' })).status).toBe(200)
  })

  it.each([
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-site': 'cross-site' },
  ])('refuses a web page: %j', async (headers) => {
    expect((await post(headers as Record<string, string>)).status).toBe(403)
  })

  it.each(['192.0.2.7', '::ffff:192.0.2.7', '2001:db8::7', '::ffff:1.127.0.1'])('refuses another machine: %s', async (remoteAddress) => {
    const { statusCode, json } = await gateway.app.admin!.inject({ method: 'POST', url: '/reload', remoteAddress })
    expect([statusCode, json().detail]).toEqual([403, 'Only the machine of the gateway can reload the configuration.'])
  })

  it('takes a program on this machine, whichever of its addresses it uses', async () => {
    for (const remoteAddress of ['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1'])
      expect((await gateway.app.admin!.inject({ method: 'POST', url: '/reload', remoteAddress })).statusCode, remoteAddress).toBe(200)
    const everywhere = createAdminServer({
      metrics: async () => '',
      checks: () => [],
      reload: async () => ({ status: 'reloaded', needsRestart: [], warnings: [] }),
      console: null,
    })
    const { port } = new URL(await everywhere.listen({ host: '0.0.0.0', port: 0 }))
    const own = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
    for (const { address } of own.filter(({ family }) => family === 'IPv4'))
      expect((await call({ url: `http://${address}:${port}` }, '/reload', { method: 'POST' })).status, address).toBe(200)
    await everywhere.close()
  })

  it('is not on the public listener, and takes no GET', async () => {
    expect((await call(gateway, '/reload', { method: 'POST' })).status).toBe(404)
    const { status, headers } = await call({ url: gateway.adminUrl }, '/reload')
    expect([status, headers.get('allow')]).toEqual([405, 'POST'])
  })

  it('is what the command reload calls', async () => {
    const port = `--set=admin.port=${new URL(gateway.adminUrl).port}`
    expect(await runCli(['reload', '--config', gateway.file, port])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('is in force'),
    })
    writeFileSync(gateway.file, '{"routes": 5}')
    const refused = await runCli(['reload', gateway.file, port])
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('routes: must be an array') })
    expect(await runCli(['reload', '--set', 'admin.port=1'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('is the gateway running?'),
    })
    expect(await runCli(['reload', gateway.file, '--set', 'admin.port=1'])).toMatchObject({ code: 2 })
    expect(await runCli(['reload', 'a.yaml', 'b.yaml'])).toMatchObject({ code: 2 })
  })
})

describe('a gateway with TLS', () => {
  it('takes a new certificate with a reload, and refuses a bad one', async () => {
    const authority = await createAuthority()
    const [first, second] = [await authority.issue(['first.test']), await authority.issue(['second.test'])]
    const withFiles = ({ certFile, keyFile }: { certFile: string; keyFile: string }) => ({
      config: { server: { tls: { cert: certFile, key: keyFile, reloadSeconds: 3600 } } },
    })
    const secure = await startGateway(withFiles(first))
    const nameOf = async () => {
      const socket = tls.connect({ port: secure.port, host: '127.0.0.1', rejectUnauthorized: false })
      await once(socket, 'secureConnect')
      const { subjectaltname } = socket.getPeerCertificate()
      socket.destroy()
      return subjectaltname
    }
    expect(await nameOf()).toContain('first.test')
    expect(await secure.reload(withFiles({ certFile: second.certFile, keyFile: first.keyFile }))).toMatchObject({
      status: 'refused',
      problems: [expect.stringContaining('server.tls')],
    })
    expect(await nameOf()).toContain('first.test')
    expect(await secure.reload(withFiles(second))).toMatchObject({ status: 'reloaded' })
    expect(await nameOf()).toContain('second.test')
    expect(await secure.reload({})).toMatchObject({ needsRestart: ['server.tls'] })
    expect(await nameOf()).toContain('second.test')
    await secure.close()
    authority.close()
  })
})

describe('reload.watch', () => {
  it('reloads after a write, also of a file that the configuration names', async () => {
    const texts = join(mkdtempSync(join(tmpdir(), 'portcullis-watch-')), 'en.yaml')
    await writeFile(texts, 'login.title: First title\n')
    const config = {
      reload: { watch: true },
      auth: { browser: { enabled: true, texts: { en: texts } } },
    }
    const watching = await startGateway({ config })
    const page = async () => (await call(watching, '/auth/ui/login')).body as string
    expect(await page()).toContain('First title')
    await writeFile(texts, 'login.title: Second title\n')
    await until(async () => (await page()).includes('Second title'), 'the new text')
    await writeFile(watching.file, '{')
    await until(async () => (await metric(watching, 'portcullis_config_last_reload_success')) === 0, 'the refusal')
    expect(await page()).toContain('Second title')
    await watching.close()
  })

  it('goes on after a file that was empty for a moment', async () => {
    const watched = await startGateway({ routes: [route('a')], config: { reload: { watch: true } } })
    const good = readFileSync(watched.file)
    writeFileSync(watched.file, '')
    await until(() => watched.log().some(({ reason }) => reason === 'config_refused'), 'the refusal')
    expect((await call(watched, '/a')).status).toBe(200)
    writeFileSync(watched.file, good.toString().replaceAll('/a"', '/b"'))
    await until(async () => (await call(watched, '/b')).status === 200, 'the new route')
    await watched.close()
  })

  it('notices a write, a rename and a folder whose link leads elsewhere', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'portcullis-watch-'))
    const [written, renamed, mounted] = [join(dir, 'written'), join(dir, 'renamed'), join(dir, 'mounted')]
    // as Kubernetes mounts a ConfigMap
    await mkdir(join(dir, 'v1'))
    await mkdir(join(dir, 'v2'))
    for (const file of [written, renamed, join(dir, 'v1/file'), join(dir, 'v2/file')]) await writeFile(file, 'one')
    symlinkSync('v1', join(dir, '..data'))
    symlinkSync('..data/file', mounted)
    let changes = 0
    let looks = 0
    const files = () => {
      looks++
      return [written, renamed, mounted]
    }
    const watch = watchFiles({ files, onChange: () => changes++, everyMs: 20 })
    await until(() => looks > 2, 'the first look')
    expect(changes).toBe(0)
    await writeFile(written, 'two')
    await until(() => changes === 1, 'the write')
    await writeFile(`${renamed}.new`, 'two')
    await rename(`${renamed}.new`, renamed)
    await until(() => changes === 2, 'the rename')
    symlinkSync('v2', join(dir, '..data_tmp'))
    await rename(join(dir, '..data_tmp'), join(dir, '..data'))
    await until(() => changes === 3, 'the other folder')
    watch.stop()
    rmSync(dir, { recursive: true })
  })
})

it('the console shows the new configuration, and its login goes on', async () => {
  const config = { auth: { browser: { enabled: true } } }
  const pages = await startGateway({ config, routes: [route('first')] })
  const site = await consoleOf(pages, await newUserWithRoles(pages, ['admin']))
  expect((await site.get('/console/routes')).text).toContain('/first')
  await pages.reload({ routes: [route('second')], config: { ...config, cors: { maxAgeSeconds: 4321 } } })
  const [routes, settings] = [await site.get('/console/routes'), await site.get('/console/configuration')]
  expect(routes.text).toContain('/second')
  expect(routes.text).not.toContain('/first')
  expect(settings.text).toContain('4321')
  await pages.close()
})
