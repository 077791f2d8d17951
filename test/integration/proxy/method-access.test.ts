import { expect, it } from 'vitest'
import { call, newUserWithRoles } from '../../support/client.ts'
import { startGateway } from '../../support/gateway.ts'
import { startUpstream } from '../../support/upstream.ts'

it('GET is public where POST on the same path of the same upstream needs a role', async () => {
  const upstream = await startUpstream()
  const gateway = await startGateway({
    routes: [
      { name: 'read', match: { path: '/items', methods: ['GET'] }, upstream: [upstream.url], access: 'public' },
      { name: 'write', match: { path: '/items', methods: ['POST'] }, upstream: [upstream.url], access: { roles: ['admin'] } },
    ],
  }).catch(async (error) => {
    await upstream.close()
    throw new Error(JSON.stringify(error.problems ?? error.message))
  })
  try {
    const admin = await newUserWithRoles(gateway, ['admin'])
    expect((await call(gateway, '/items')).status).toBe(200)
    expect((await call(gateway, '/items', { body: {} })).status).toBe(401)
    expect((await call(gateway, '/items', { body: {}, token: admin.token })).status).toBe(200)
  } finally {
    await gateway.close()
    await upstream.close()
  }
})
