/** A client with fetch and JSON, and one with raw bytes over a socket for requests that fetch cannot send. */
import { randomBytes } from 'node:crypto'
import net from 'node:net'
import type { Gateway } from './gateway.ts'
import { rows } from './rows.ts'

export interface Answer<T = any> {
  status: number
  headers: Headers
  body: T
}

export interface CallOptions {
  method?: string
  body?: unknown
  token?: string | undefined
  headers?: Record<string, string>
}

/** JSON in, JSON out; a response that is not JSON stays text. */
export async function call<T = any>(
  gateway: { url: string },
  path: string,
  { method, body, token, headers = {} }: CallOptions = {},
): Promise<Answer<T>> {
  const response = await fetch(gateway.url + path, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    redirect: 'manual',
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: parse(text) }
}

function parse(text: string): any {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

export interface TestUser {
  id: string
  username: string
  email: string
  password: string
  token: string
  refreshToken: string
}

/** Who acts where a test calls a service itself. */
export const OPERATOR = { actor: 'test', context: { ip: null, userAgent: null, requestId: null } }

let count = 0
/** Registers a new user. */
export async function newUser(gateway: { url: string }): Promise<TestUser> {
  const username = `user${count++}x${randomBytes(3).toString('hex')}`
  const person = { username, email: `${username}@example.com`, password: `plain zebra ${randomBytes(6).toString('hex')}` }
  const { status, body } = await call(gateway, '/auth/register', { body: person })
  if (status !== 201) throw new Error(`register answered ${status}: ${JSON.stringify(body)}`)
  return { ...person, id: body.user.id, token: body.access_token, refreshToken: body.refresh_token }
}

/** As if the user had opened the link. Tokens still say that the address is not proven. Notices of own actions go only to such users. */
export const proveAddress = (gateway: Pick<Gateway, 'app'>, { id }: Pick<TestUser, 'id'>) =>
  rows(gateway, 'UPDATE users SET email_verified_at = now() WHERE id = $1', [id])

/** A logged-in user with these roles. The configuration need not know the roles. */
export async function newUserWithRoles(gateway: Gateway, roles: string[]): Promise<TestUser> {
  const user = await newUser(gateway)
  const { config } = gateway.app.platform
  const { administration } = gateway.app.identity
  for (const role of roles)
    if (role in config.auth.roles) await administration.grant(user.id, role, OPERATOR)
    else
      await rows(gateway, 'UPDATE users SET roles = array_append(roles, $2), token_epoch = token_epoch + 1 WHERE id = $1', [user.id, role])
  return login(gateway, user)
}

export async function login(gateway: { url: string }, user: TestUser): Promise<TestUser> {
  const { status, body } = await call(gateway, '/auth/login', { body: { login: user.username, password: user.password } })
  if (status !== 200) throw new Error(`login answered ${status}: ${JSON.stringify(body)}`)
  return { ...user, token: body.access_token, refreshToken: body.refresh_token }
}

/** Sends the bytes unchanged and reads until the peer closes, or until `enough`. Latin-1 both ways. */
export function raw(
  port: number,
  bytes: string | Buffer,
  enough: (text: string) => boolean = () => false,
  timeoutMs = 5000,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = net.connect(port, '127.0.0.1', () => socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes))
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`no end after ${timeoutMs} ms; so far: ${text.slice(0, 300)}`))
    }, timeoutMs)
    const done = () => {
      clearTimeout(timer)
      socket.destroy()
      resolve(text)
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (enough(text)) done()
    })
    socket.on('close', done)
    socket.on('error', done)
  })
}

export const statusOf = (text: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0)
