/** Makes users, administrators and machine clients for the hooks of Schemathesis, which end sessions and remove accounts all the time. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { call, newUser, type TestUser } from '../support/client.ts'
import { query } from '../support/postgres.ts'
import { claimsOf } from '../support/session.ts'
import type { ApiGateway } from './gateway.ts'

export interface Keeper {
  url: string
  stop(): Promise<void>
}

const as = (token: string) => ({ authorization: `Bearer ${token}` })

/** Answers POST /user, /admin, /client with a new one as JSON. */
export async function startKeeper(gateway: ApiGateway): Promise<Keeper> {
  async function loginOf(user: TestUser, choice: object = {}) {
    const answer = await call(gateway, '/auth/login', {
      body: { login: user.email, password: user.password, ...choice },
      headers: { origin: gateway.url },
    })
    if (answer.status !== 200) throw new Error(`login answered ${answer.status}: ${JSON.stringify(answer.body)}`)
    return answer
  }

  /** A user with two sessions: one by token, one by cookie. */
  async function user(roles: string[]) {
    const made = await newUser(gateway)
    await query(gateway.databaseUrl, 'UPDATE users SET roles = $2, email_verified_at = now() WHERE id = $1', [made.id, roles])
    const { body } = await loginOf(made)
    const { headers } = await loginOf(made, { session: 'cookie' })
    const [cookie = ''] = headers.getSetCookie().map((text) => text.split(';')[0]!)
    return { ...made, token: body.access_token, refresh_token: body.refresh_token, cookie, session_id: claimsOf(body.access_token).sid }
  }

  async function client() {
    const { token } = await user(['admin'])
    const body = { name: `client ${randomBytes(4).toString('hex')}`, scopes: ['introspect'] }
    const answer = await call(gateway, '/auth/admin/clients', { body, headers: as(token) })
    if (answer.status !== 201) throw new Error(`the client was refused: ${answer.status} ${JSON.stringify(answer.body)}`)
    return { id: answer.body.client.id, secret: answer.body.client_secret }
  }

  const makers: Record<string, () => Promise<object>> = {
    '/user': () => user(['user']),
    '/admin': () => user(['user', 'admin']),
    '/client': client,
  }
  const server = createServer((request, response) => {
    const make = makers[request.url ?? '']
    if (!make) return void response.writeHead(404).end()
    make().then(
      (made) => response.end(JSON.stringify(made)),
      (error) => response.writeHead(500).end(String(error)),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}
