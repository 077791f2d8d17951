import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { call } from '../../support/client.ts'
import { createDataDir } from '../../support/embedded.ts'
import { bare, freePort, type Running, start, until } from '../../support/processes.ts'

// the embedded database takes its time to start on a busy machine
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const dir = mkdtempSync(join(tmpdir(), 'portcullis-demo-'))
let port: number
let adminPort: number
let demo: Running

const startDemo = (folder: string, settings: string[], { more = [], env = {} }: { more?: string[]; env?: NodeJS.ProcessEnv } = {}) => {
  const set = [`database.dataDir=${join(dir, folder)}`, ...settings].flatMap((s) => ['--set', s])
  return start(resolve('node_modules/.bin/node'), [resolve('src/cli.ts'), 'demo', ...set, ...more], {
    cwd: dir,
    env: { ...bare(), HOME: dir, ...env },
  })
}
const introduced = (running: Running) =>
  until(
    () => {
      if (running.child.exitCode !== null) throw new Error(running.output())
      return running.output().includes('Ctrl-C stops the demo') && running.output()
    },
    'the introduction',
    60_000,
  )
const passwordIn = (text: string) => /^ +an admin +admin@example\.com +password (\S+)$/m.exec(text)?.[1]

let introduction: string
beforeAll(async () => {
  ;[port, adminPort] = [await freePort(), await freePort()]
  demo = startDemo('data', [`server.port=${port}`, `admin.port=${adminPort}`])
  introduction = await introduced(demo)
})
afterAll(async () => {
  await demo.stop()
  rmSync(dir, { recursive: true, force: true })
})
const url = () => ({ url: `http://127.0.0.1:${port}` })

/** Runs lines as somebody would who pastes them into a shell; each command's output, between marks. */
async function paste(lines: string[], variables: Record<string, string> = {}): Promise<string[]> {
  const script = lines.map((line) => `${line}\necho; echo "@@"`).join('\n')
  const { stdout } = await promisify(execFile)('bash', ['-c', script], { env: { PATH: process.env.PATH, ...variables } })
  return stdout
    .split('@@\n')
    .slice(0, -1)
    .map((s) => s.trim())
}

describe('the introduction', () => {
  it('names the addresses and the admin, and what it names is there', async () => {
    expect(introduction).toContain(`shop       http://localhost:${port}/shop/\n`)
    expect(introduction).toContain(`account    http://localhost:${port}/auth/ui/account\n`)
    expect(introduction).toContain(`gateway    http://localhost:${port}\n`)
    expect(introduction).toContain(`console    http://localhost:${adminPort}/console\n`)
    expect(introduction).toContain(`admin      http://localhost:${adminPort} `)
    expect(passwordIn(introduction)).toMatch(/^\S{16,}$/)
    expect((await call(url(), '/auth/docs')).status).toBe(200)
    expect((await call(url(), '/shop/')).status).toBe(200)
    expect((await call({ url: `http://127.0.0.1:${adminPort}` }, '/readyz?verbose')).body.status).toBe('ready')
  })

  it('names the page of the shop first', () => {
    expect(/http:\S+/.exec(introduction)?.[0]).toBe(`http://localhost:${port}/shop/`)
  })

  it('names the folder that holds everything', () => {
    expect(introduction.trimEnd().split('\n').at(-1)).toContain(`All its data is in ${join(dir, 'data')}`)
  })

  it('has curl lines that work as described, from the catalog to a token that is revoked by logout', async () => {
    const lines = introduction
      .split('\n')
      .map((l) => l.trim())
      .filter((l) => /^(curl|TOKEN=|ADMIN=)/.test(l))
    expect(lines).toHaveLength(12)
    const feed = lines.findIndex((l) => l.includes('/shop/feed'))
    const [before, after] = [lines.slice(0, feed), lines.slice(feed + 1)]

    const reported = await paste([...before, 'echo "$TOKEN"'])
    const token = reported.pop()!
    expect(token.split('.')).toHaveLength(3)
    const [catalog, refused, , , whoami, order, forbidden, , all] = reported.map((text) => (text ? JSON.parse(text) : null))
    expect(catalog[0]).toMatchObject({ item: 'drawbridge' })
    expect(refused).toMatchObject({ status: 401, code: 'token_missing' })
    expect(whoami).toMatchObject({ user: expect.stringMatching(/^[\da-f-]{36}$/), roles: 'user' })
    expect(order).toMatchObject({ owner: whoami.user, item: 'drawbridge', status: 'open' })
    expect(forbidden).toMatchObject({ status: 403, code: 'forbidden' })
    expect(all).toContainEqual(order)

    // the feed stays open: it is read until an order that is placed meanwhile shows up
    const following = start('bash', ['-c', `exec ${lines[feed]}`], { env: { PATH: process.env.PATH, TOKEN: token } })
    await until(() => following.output().includes(': every new and shipped order'), 'the feed')
    const placed = await call(url(), '/shop/orders', { body: { item: 'portcullis' }, token })
    await until(() => following.output().includes('event: order\n'), 'an event')
    await until(() => following.output().includes(`data: {"id":${placed.body.id},"item":"portcullis","status":"open"}\n\n`), 'the order')
    await following.stop()

    const [loggedOut, dead] = await paste(after, { TOKEN: token })
    expect(loggedOut).toBe('')
    expect(JSON.parse(dead!)).toMatchObject({ status: 401, code: 'token_revoked' })
  })
})

describe('the demo', () => {
  const adminToken = async () => {
    const { status, body } = await call(url(), '/auth/login', { body: { login: 'admin@example.com', password: passwordIn(introduction) } })
    expect(status).toBe(200)
    return body.access_token as string
  }

  it('greets over WebSocket by the id of the user, and echoes', async () => {
    const token = await adminToken()
    const { body } = await call(url(), '/auth/me', { token })
    const socket = new WebSocket(`ws://127.0.0.1:${port}/shop/chat`, { headers: { authorization: `Bearer ${token}` } })
    const messages: string[] = []
    socket.on('message', (data) => messages.push(String(data)))
    await until(() => messages.includes(`hello ${body.id}`), 'the greeting')
    socket.send('knock')
    await until(() => messages.includes('echo: knock'), 'the echo')
    socket.close()
  })

  it('does not greet a client without a token', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/shop/chat`)
    const status = await new Promise((done) => {
      socket.on('unexpected-response', (_request, response) => done(response.statusCode))
      socket.on('open', () => done('open'))
      socket.on('error', () => {})
    })
    socket.terminate()
    expect(status).toBe(401)
  })

  it('lets the admin keep the password, and see and ship everything', async () => {
    const token = await adminToken()
    expect((await call(url(), '/auth/me', { token })).body).toMatchObject({ roles: ['admin'], password_must_change: false })
    expect((await call(url(), '/shop/admin/orders/1/ship', { method: 'POST', token })).body).toMatchObject({ id: 1, status: 'shipped' })
    expect((await call(url(), '/auth/admin/errors', { token })).status).toBe(200)
  })

  it('keeps its secrets for itself', () => {
    const file = join(dir, 'data/demo-secrets.json')
    expect(statSync(file).mode & 0o077).toBe(0)
    expect(Object.keys(JSON.parse(readFileSync(file, 'utf8')))).toEqual(['secretKey', 'adminPassword'])
  })
})

it('the first start says that it creates the database', () => {
  expect(introduction).toContain(`creating the embedded database in ${join(dir, 'data')}, which takes a few seconds`)
})

describe('the page of the shop', () => {
  it('is for everybody, runs no scripts but its own, and is never framed', async () => {
    const { status, headers, body } = await call(url(), '/shop/')
    expect([status, headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    const policy = headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'; script-src 'self'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe')
    expect(body).toContain('<h1>Everything for your castle</h1>')
    expect((await call(url(), '/shop')).headers.get('location')).toBe('/shop/')
  })

  it('uses the client library as it is packed', async () => {
    const { status, headers, body } = await call(url(), '/shop/assets/portcullis-client.js')
    expect([status, headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
    expect(body).toBe(readFileSync('clients/javascript/src/portcullis-client.js', 'utf8'))
  })

  it('has no file of another folder', async () => {
    for (const path of ['/shop/assets/', '/shop/assets/index.html', '/shop/package.json'])
      expect((await call(url(), path)).status).toBe(404)
  })
})

describe('the warnings of the demo', () => {
  const warning = 'embedded database: one process, no replication'

  it('are JSON lines when the output is not a terminal', () => {
    const line = introduction.split('\n').find((text) => text.includes(warning))
    expect(JSON.parse(line!)).toMatchObject({ level: 'warn', data_dir: join(dir, 'data') })
  })

  it('are readable lines on a terminal, before the introduction', async () => {
    await createDataDir(join(dir, 'terminal'))
    const env = { NODE_OPTIONS: '--import=data:text/javascript,process.stdout.isTTY=true', NO_COLOR: '1' }
    const running = startDemo('terminal', ['server.port=0', 'admin.port=0'], { env })
    try {
      const [first] = (await introduced(running)).trimStart().split('\n')
      expect(first).toMatch(new RegExp(`^\\d\\d:\\d\\d:\\d\\d WARN  ${warning}, .* data_dir=\\S+/terminal$`))
      expect(running.output()).not.toContain('{"level"')
    } finally {
      await running.stop()
    }
  })
})

it('a second start keeps the password of the admin, the users and the keys; and listens where --port says', async () => {
  const other = await freePort()
  await createDataDir(join(dir, 'again'))
  const first = () => startDemo('again', ['server.port=0', 'admin.port=0'])
  const second = () => startDemo('again', ['server.port=0', 'admin.port=0'], { more: ['--port', String(other)] })
  const gatewayIn = (text: string) => ({ url: /gateway +(http:\S+)/.exec(text)![1]! })
  const [texts, keys]: [string[], unknown[]] = [[], []]
  for (const begin of [first, second]) {
    const running = begin()
    try {
      const text = await introduced(running)
      texts.push(text)
      keys.push((await call(gatewayIn(text), '/.well-known/jwks.json')).body)
      const login = { login: 'admin@example.com', password: passwordIn(texts[0]!) }
      expect((await call(gatewayIn(text), '/auth/login', { body: login })).status).toBe(200)
    } finally {
      await running.stop()
    }
  }
  expect(passwordIn(texts[1]!)).toBe(passwordIn(texts[0]!))
  expect(keys[1]).toEqual(keys[0])
  expect(gatewayIn(texts[1]!)).toEqual({ url: `http://localhost:${other}` })
})
