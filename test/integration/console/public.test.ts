/** The console on the public listener: the cookie and the login of the pages, on a host that no route serves. */
import http from 'node:http'
import { beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'

const gateway = useGateway(() => ({
  config: { auth: { browser: { enabled: true, console: 'public', consoleHosts: ['admin.localtest'] } } },
  routes: [{ name: 'api', match: { path: '/', host: 'localhost' }, upstream: ['http://127.0.0.1:1'], access: 'public' }],
}))
let admin: TestUser
beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
})

const send = (
  path: string,
  { method = 'GET', headers = {}, body = '' }: { method?: string; headers?: Record<string, string>; body?: string } = {},
) =>
  new Promise<{ status: number; to: string | undefined; text: string }>((resolve, reject) => {
    const request = http.request(gateway.url + path, { method, headers, agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
      })
      answer.on('end', () => resolve({ status: answer.statusCode!, to: answer.headers.location, text }))
    })
    request.on('error', reject)
    request.end(body)
  })

async function cookieOf(user: TestUser): Promise<string> {
  const { status, headers, body } = await call(gateway, '/auth/login', {
    body: { login: user.username, password: user.password, session: 'cookie' },
    headers: { origin: gateway.url },
  })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return headers.getSetCookie()[0]!.split(';')[0]!
}

it('an administrator sees it, and changes something with the browser cookie', async () => {
  const user = await newUser(gateway)
  const cookie = await cookieOf(admin)
  const list = await send('/auth/console/users', { headers: { cookie } })
  expect([list.status, list.text.includes(`href="/auth/console/users/${user.id}"`)]).toEqual([200, true])
  expect(list.text).toContain('action="/auth/ui/logout"')
  const done = await send(`/auth/console/users/${user.id}/disable`, {
    method: 'POST',
    headers: { cookie, origin: gateway.url, 'content-type': 'application/x-www-form-urlencoded' },
  })
  expect([done.status, done.to]).toEqual([303, `/auth/console/users/${user.id}?done=disable`])
  const audit = await rows(gateway, `SELECT outcome, actor FROM audit_log WHERE event = 'user_disable' AND user_id = $1`, [user.id])
  expect(audit).toEqual([{ outcome: 'success', actor: `user:${admin.id}` }])
})

it('without a login it leads to the login page, and back', async () => {
  const { status, to } = await send('/auth/console/users')
  expect([status, to]).toEqual([303, '/auth/ui/login?return_to=%2Fauth%2Fconsole%2Fusers'])
})

it('a user without the role is refused', async () => {
  const cookie = await cookieOf(await newUser(gateway))
  const { status, text } = await send('/auth/console/users', { headers: { cookie } })
  expect([status, text.includes('no administrator')]).toEqual([403, true])
})

describe('another site', () => {
  it('changes nothing', async () => {
    const user = await newUser(gateway)
    const cookie = await cookieOf(admin)
    const { status } = await send(`/auth/console/users/${user.id}/delete`, {
      method: 'POST',
      headers: { cookie, origin: 'https://evil.example', 'content-type': 'application/x-www-form-urlencoded' },
    })
    expect(status).toBe(403)
    expect(await rows(gateway, 'SELECT id FROM users WHERE id = $1', [user.id])).toHaveLength(1)
  })

  it.each(['localhost', 'rebound.example'])('the host %s has no console', async (host) => {
    const cookie = await cookieOf(admin)
    const { status, text } = await send('/auth/console/users', { headers: { cookie, host } })
    expect([status, text.includes(admin.email)]).toEqual([403, false])
  })
})
