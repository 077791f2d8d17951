/** Machine clients in the console. */
import { beforeAll, expect, it } from 'vitest'
import { newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Console, consoleOf } from '../../support/console.ts'
import { useGateway } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'

const gateway = useGateway({ config: { auth: { browser: { enabled: true } } } })
let admin: TestUser
let site: Console

beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
  site = await consoleOf(gateway, admin)
})

const secretIn = (text: string) => /<code class="secret">(pcs_[^<]+)</.exec(text)?.[1]
const idOf = (text: string) => /href="\/console\/clients\/([0-9a-f-]{36})"/.exec(text)![1]!

const tokenStatus = async (id: string, secret: string) =>
  (
    await fetch(`${gateway.url}/auth/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    })
  ).status

it('a machine client is made, gets a new secret, is disabled, enabled and deleted', async () => {
  const made = await site.post('/console/clients/new', { name: 'billing', roles: 'user', scopes: 'orders:read, orders:write' })
  const [id, secret] = [idOf(made.text), secretIn(made.text)!]
  expect(await tokenStatus(id, secret)).toBe(200)
  const path = `/console/clients/${id}`
  expect((await site.get('/console/clients')).text).toContain(`href="${path}"`)
  const shown = await site.get(path)
  expect(shown.text).toContain('orders:read orders:write')
  expect(secretIn(shown.text)).toBeUndefined()

  expect((await site.get(`${path}/rotate-secret`)).text).toContain('stop working at once')
  const renewed = secretIn((await site.post(`${path}/rotate-secret`)).text)!
  expect([await tokenStatus(id, secret), await tokenStatus(id, renewed)]).toEqual([401, 200])

  expect((await site.post(`${path}/disable`)).to).toBe(`${path}?done=disable`)
  expect(await tokenStatus(id, renewed)).toBe(401)
  expect((await site.post(`${path}/enable`)).to).toBe(`${path}?done=enable`)
  expect(await tokenStatus(id, renewed)).toBe(200)
  expect((await site.post(`${path}/delete`)).to).toBe('/console/clients?done=delete')
  expect((await site.get(path)).status).toBe(404)

  const audit = await rows(
    gateway,
    `SELECT event, outcome, actor FROM audit_log WHERE event LIKE 'client_%' AND detail = $1 ORDER BY at, id`,
    [id],
  )
  const events = ['client_create', 'client_secret_rotate', 'client_disable', 'client_enable', 'client_delete']
  expect(audit).toEqual(events.map((event) => ({ event, outcome: 'success', actor: `user:${admin.id}` })))
})

it('a refusal stands at its field', async () => {
  const bad = await site.post('/console/clients/new', { name: 'x', roles: 'Not A Role', jwks: '' })
  expect([bad.status, bad.text.includes('id="roles-error"'), bad.text.includes('value="Not A Role"')]).toEqual([422, true, true])
  const keys = await site.post('/console/clients/new', { name: 'keys', jwks: '{' })
  expect([keys.status, keys.text.includes('id="jwks-error"')]).toEqual([422, true])
  expect((await site.post('/console/clients/new', { name: 'keys', jwks: '{"keys":[]}' })).text).toContain('id="jwks-error"')
})
