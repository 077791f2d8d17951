/** The service of clients/verify/fastify behind a gateway. `npm run test:real -- --part kit` tries the other frameworks. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { call, newUser } from '../../support/client.ts'
import { route } from '../../support/config.ts'
import { useGateway } from '../../support/fixtures.ts'
import { freePort, type Running, start, until } from '../../support/processes.ts'

const SERVER = fileURLToPath(new URL('../../../clients/verify/fastify/server.js', import.meta.url))

const mirror = createServer((request, response) => response.end(JSON.stringify(request.headers)))
let service: Running
let serviceUrl = ''

const gateway = useGateway(async () => {
  await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve))
  serviceUrl = `http://127.0.0.1:${await freePort()}`
  return {
    routes: [
      route('/service', { upstream: [serviceUrl], access: 'public', rewrite: { prefix: '/' }, headers: { assertion: true } }),
      route('/mirror', { upstream: [`http://127.0.0.1:${(mirror.address() as AddressInfo).port}`], headers: { assertion: true } }),
    ],
  }
})

beforeAll(async () => {
  service = start(process.execPath, [SERVER], {
    env: {
      PORT: new URL(serviceUrl).port,
      ISSUER: gateway.app.platform.config.tokens.issuer,
      AUDIENCE: serviceUrl,
      JWKS_URI: `${gateway.url}/.well-known/jwks.json`,
    },
  })
  await until(() => fetch(`${serviceUrl}/me`).then(Boolean, () => false), 'the service')
})

afterAll(async () => {
  await service.stop()
  mirror.close()
})

const me = (base: string, headers: Record<string, string> = {}) => call({ url: base }, '/me', { headers })

it('the service shows the caller of a request through the gateway', async () => {
  const user = await newUser(gateway)
  const { status, body } = await me(`${gateway.url}/service`, { authorization: `Bearer ${user.token}` })
  expect(status).toBe(200)
  expect(body).toMatchObject({ id: user.id, roles: ['user'], scopes: [] })
  expect(body.session).toMatch(/^[0-9a-f-]{36}$/)
})

it.each(['through the gateway', 'directly'])('forged headers name nobody, %s', async (way) => {
  const forged = { 'x-auth-user': 'root', 'x-auth-roles': 'admin', 'x-auth-email': 'root@example.com' }
  expect((await me(way === 'directly' ? serviceUrl : `${gateway.url}/service`, forged)).status).toBe(401)
})

it('the service refuses an assertion for another service, an access token, and a text that is no token', async () => {
  const { token } = await newUser(gateway)
  const { body } = await call(gateway, '/mirror', { token })
  expect(body['x-auth-assertion']).toMatch(/^ey/)
  for (const assertion of [body['x-auth-assertion'], token, 'x']) {
    const { status, body: refusal } = await me(serviceUrl, { 'x-auth-assertion': assertion })
    expect(status).toBe(401)
    expect(refusal.error).toBe('The assertion is not valid.')
  }
})
