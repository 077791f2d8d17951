import { afterAll, beforeAll, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let gateway: Gateway
beforeAll(async () => {
  upstream = await startUpstream()
  const route = (name: string, methods: string[], access: unknown) => ({
    name,
    match: { path: '/reports', methods },
    upstream: [upstream.url],
    access,
  })
  gateway = await startGateway({
    routes: [
      route('read', ['GET'], 'public'),
      route('write', ['POST'], 'authenticated'),
      route('remove', ['DELETE'], { roles: ['admin'] }),
    ],
  })
})
afterAll(async () => {
  await gateway?.close()
  await upstream.close()
})

it('one path may ask for more with each method', async () => {
  const [user, admin] = [await newUser(gateway), await newUserWithRoles(gateway, ['admin'])]
  const ask = async (method: string, token?: string) => (await call(gateway, '/reports/1', { method, token })).status
  const asked = async (token?: string) => [await ask('GET', token), await ask('POST', token), await ask('DELETE', token)]
  expect(await asked()).toEqual([200, 401, 401])
  expect(await asked(user.token)).toEqual([200, 200, 403])
  expect(await asked(admin.token)).toEqual([200, 200, 200])
  expect(upstream.take().map((r) => r.method)).toEqual(['GET', 'GET', 'POST', 'GET', 'POST', 'DELETE'])
})
