/** Text that a client or an upstream chose is never raw in a log, a terminal or a mail. */
import { describe, expect, it } from 'vitest'
import { visibleText } from '../../src/platform/lib/visible-text.ts'
import { createComposer } from '../../src/platform/mail/message.ts'
import { readableLine } from '../../src/platform/telemetry/readable-log.ts'
import { runCli } from '../support/cli.ts'
import { call, login, newUser, raw, statusOf } from '../support/client.ts'
import { newClient } from '../support/clients.ts'
import { useGateway, useKeep } from '../support/fixtures.ts'
import { startGateway } from '../support/gateway.ts'
import { until } from '../support/processes.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'
import { rows } from '../support/rows.ts'

/** A cleared screen, a hidden end, a reversed middle and a second line. */
const EVIL = 'a\x1b[2Jb\x9b2Jc\u202ed\u2066e\u200bf\u{e0041}g\u2028h\x7fi'
const SHOWN = 'a\\u{1b}[2Jb\\u{9b}2Jc\\u{202e}d\\u{2066}e\\u{200b}f\\u{e0041}g\\u{2028}h\\u{7f}i'
const isVisible = (text: string) => text.split('\n').every((line) => visibleText(line) === line)

const gateway = useGateway()
const env = () => ({ DATABASE_URL: gateway.databaseUrl, PORTCULLIS_SECRET_KEY: gateway.secretKey })

describe('a log line', () => {
  it("shows an upstream's field as visible text, with the bytes that it had", async () => {
    const upstream = await keep(
      startRawUpstream((socket) =>
        socket.write(Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: x\x9b2J\x85y, chunked\r\n\r\n0\r\n\r\n', 'latin1')),
      ),
    )
    const proxying = await keep(
      startGateway({ routes: [{ name: 'api', match: { path: '/' }, upstream: [upstream.url], access: 'public' }] }),
    )
    expect(statusOf(await raw(proxying.port, 'GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'))).toBe(502)
    const line = await until(() => proxying.log().find(({ route }) => route === 'api'), 'the log line')
    expect(line.cause).toContain('x\\u{9b}2j\\u{85}y')
    expect(isVisible(JSON.stringify(line))).toBe(true)
  })

  it('of any other part of the gateway is visible text at any depth', () => {
    gateway.app.platform.logger.warn(
      { reason: EVIL, inner: { list: [EVIL], 'na\u202eme': 1 }, err: { stack: `Error: ${EVIL}\n    at x` } },
      EVIL,
    )
    const line = gateway.log().find(({ msg }) => msg === SHOWN)!
    expect(line).toMatchObject({ reason: SHOWN, inner: { list: [SHOWN], 'na\\u{202e}me': 1 } })
    expect(line.err).toEqual({ stack: `Error: ${SHOWN}\n    at x` })
    expect(isVisible(readableLine(JSON.stringify(line), true).replace(/\x1b\[\d+m/g, ''))).toBe(true)
  })
})

const keep = useKeep()

describe('a terminal', () => {
  it('shows visible text in a table, and JSON escapes in JSON', async () => {
    // control characters are refused in names of clients
    const name = EVIL.replace(/\p{Cc}/gu, '')
    const { id } = await newClient(gateway, { name })
    const table = await runCli(['clients', 'list'], env())
    expect(table.code).toBe(0)
    expect(table.stdout).toContain(visibleText(name))
    expect(isVisible(table.stdout)).toBe(true)
    const json = await runCli(['clients', 'list', '--json'], env())
    expect(isVisible(json.stdout)).toBe(true)
    expect(JSON.parse(json.stdout).find((row: { id: string }) => row.id === id).name).toBe(name)
  })

  it('shows no raw character of a user agent that the audit log holds', async () => {
    const user = await newUser(gateway)
    const agent = 'x\x9b2J\xady'
    const head = `POST /auth/login HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\nUser-Agent: ${agent}\r\nContent-Type: application/json`
    const body = JSON.stringify({ login: user.username, password: user.password })
    expect(statusOf(await raw(gateway.port, `${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`))).toBe(200)
    const { code, stdout } = await runCli(['audit', 'export', '--user', user.email], env())
    expect(code).toBe(0)
    expect(isVisible(stdout)).toBe(true)
    expect(
      stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).user_agent),
    ).toContain(agent)
  })

  it('shows no raw character of an argument in an error', async () => {
    const { code, stderr } = await runCli(['users', 'disable', EVIL], env())
    expect(code).not.toBe(0)
    expect(isVisible(stderr)).toBe(true)
  })
})

describe('a mail', () => {
  it('shows the name that a user gave to a key as visible text', async () => {
    const user = await newUser(gateway)
    await rows(gateway, 'UPDATE users SET email_verified_at = now() WHERE id = $1', [user.id])
    const { token } = await login(gateway, user)
    const name = 'a\u202eb\u2066c\u200bd\u2028e'
    const made = await call(gateway, '/auth/api-keys', { body: { name }, token })
    expect(made.status).toBe(201)
    const posted = await until(
      () => gateway.messages.find(({ to, template }) => to === user.email && template === 'api_key_created'),
      'the mail',
    )
    const { text, html } = createComposer(gateway.app.platform.config, gateway.app.platform.texts)(posted)
    for (const part of [text, html]) {
      expect(isVisible(part)).toBe(true)
      expect(part).toContain('a\\u{202e}b\\u{2066}c\\u{200b}d\\u{2028}e')
    }
  })
})
