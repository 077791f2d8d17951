/** The pages of the console about the gateway itself: keys, audit log, errors, routes, reasons of access, configuration, health. */
import { beforeAll, describe, expect, it } from 'vitest'
import { call, newUser, newUserWithRoles, type TestUser } from '../../support/client.ts'
import { type Console, consoleOf, type Shown } from '../../support/console.ts'
import { useGateway, useUpstream } from '../../support/fixtures.ts'
import { rows } from '../../support/rows.ts'

const upstream = useUpstream()
const gateway = useGateway(() => ({
  config: {
    auth: { browser: { enabled: true }, audit: { sealSeconds: 86_400 } },
  },
  routes: [
    { name: 'catalog', match: { path: '/catalog', methods: ['GET'] }, upstream: [upstream.url], access: 'public' },
    { name: 'orders', match: { path: '/orders' }, upstream: [upstream.url], access: 'authenticated', limits: ['perUser'] },
    { name: 'reports', match: { path: '/reports' }, upstream: [upstream.url], access: { roles: ['admin'] } },
    { name: 'away', match: { path: '/away' }, upstream: ['http://127.0.0.1:9'], access: 'public' },
  ],
}))
let admin: TestUser
let site: Console

beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
  site = await consoleOf(gateway, admin)
})

const auditOf = (event: string) =>
  rows(gateway, 'SELECT outcome, actor, detail FROM audit_log WHERE event = $1 ORDER BY at DESC, id DESC LIMIT 1', [event])
const kids = async () => (await gateway.app.identity.administration.keys()).map(({ kid, state }) => ({ kid, state }))

describe('signing keys', () => {
  it('a rotation asks first, publishes a key, and is audited with the admin as actor', async () => {
    const before = await kids()
    const asked = await site.get('/console/keys/rotate')
    expect(asked.text).toContain('Nobody is logged out')
    expect(await kids()).toEqual(before)
    expect((await site.post('/console/keys/rotate')).to).toBe('/console/keys?done=rotate')
    const after = await kids()
    expect(after.map(({ state }) => state).sort()).toEqual(['current', 'next'])
    const fresh = after.find(({ state }) => state === 'next')!
    expect((await site.get('/console/keys?done=rotate')).text).toContain('A new key is published.')
    expect((await site.get('/console/keys')).text).toContain(fresh.kid)
    expect(await auditOf('key_rotate')).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: fresh.kid }])
  })

  it('a revocation says what will happen, and removes the key', async () => {
    const next = (await kids()).find(({ state }) => state === 'next')!
    const asked = await site.get(`/console/keys/${next.kid}/revoke`)
    expect(asked.text).toContain('has signed nothing yet')
    const current = (await kids()).find(({ state }) => state === 'current')!
    expect((await site.get(`/console/keys/${current.kid}/revoke`)).text).toContain('refused at once')
    expect((await site.post(`/console/keys/${next.kid}/revoke`)).to).toBe('/console/keys?done=revoke')
    expect((await kids()).map(({ kid }) => kid)).not.toContain(next.kid)
    expect(await auditOf('key_revoke')).toEqual([{ outcome: 'success', actor: `user:${admin.id}`, detail: next.kid }])
  })

  it('an unknown key is not found', async () => {
    expect((await site.get('/console/keys/nothing/revoke')).status).toBe(404)
    expect((await site.post('/console/keys/nothing/revoke')).status).toBe(404)
  })

  it('a form from another site changes nothing', async () => {
    const before = await kids()
    for (const path of ['rotate', 'replace', `${before[0]!.kid}/revoke`])
      expect((await site.post(`/console/keys/${path}`, {}, { origin: 'http://evil.test' })).status).toBe(403)
    expect(await kids()).toEqual(before)
  })
})

describe('audit log', () => {
  const events = ({ text }: Shown) => [...text.matchAll(/<code class="whole">(\w+)<\/code>/g)].map(([, event]) => event)
  const times = ({ text }: Shown) => [...text.matchAll(/<td><time datetime="([^"]+)"/g)].map(([, at]) => at!)

  it.each<[string, (user: TestUser) => string, string[]]>([
    ['event', (user) => `user=${user.email}&event=register`, ['register']],
    ['outcome', (user) => `user=${user.id}&outcome=invalid_credentials`, ['login']],
    ['user', (user) => `user=${user.username}`, ['login', 'register']],
    ['actor', (user) => `user=${user.id}&actor=nobody`, []],
    ['time', (user) => `user=${user.id}&until=2020-01-01`, []],
    ['time and zone', (user) => `user=${user.id}&since=2020-01-01T12:00`, ['login', 'register']],
    ['time as the API writes it', (user) => `user=${user.id}&since=2020-01-01T12:00:00.000Z`, ['login', 'register']],
    ['time as the table shows it', (user) => `user=${user.id}&since=2020-01-01+12:00:00`, ['login', 'register']],
  ])('filters by %s', async (_, query, expected) => {
    const user = await newUser(gateway)
    await call(gateway, '/auth/login', { body: { login: user.username, password: 'not the password' } })
    const shown = await site.get(`/console/audit?${query(user)}`)
    expect(shown.status).toBe(200)
    expect(events(shown)).toEqual(expected)
  })

  it('links an event to its user, and the user to all events', async () => {
    const user = await newUser(gateway)
    const { text } = await site.get(`/console/audit?user=${user.id}`)
    expect(text).toContain(`<a href="/console/users/${user.id}">${user.username}</a>`)
    expect(text).toContain(`href="/console/audit?user=${user.id}"`)
  })

  it.each([
    ['since=yesterday', 'does not have the right form'],
    ['until=2026-13-01', 'does not have the right form'],
    ['until=2026-11-01T12:00%2B01:00', 'does not have the right form'],
    ['user=nobody-has-this-name', 'is not known'],
    [`event=${'x'.repeat(65)}`, 'is too long'],
    ['actor=%00', 'does not have the right form'],
    ['cursor=nonsense', 'Filter again'],
  ])('%s is refused at its field', async (query, message) => {
    const shown = await site.get(`/console/audit?${query}`)
    expect(shown.status).toBe(422)
    expect(shown.text).toContain(message)
  })

  it('what is typed comes back as text, never as markup', async () => {
    const { text } = await site.get(`/console/audit?event=${encodeURIComponent('"><script>x</script>')}`)
    expect(text).not.toContain('<script>x')
    expect(text).toContain('&lt;script&gt;')
  })

  it('leads from page to page, newest first, without a gap and with its filters', async () => {
    const user = await newUser(gateway)
    await rows(
      gateway,
      `INSERT INTO audit_log (id, at, event, outcome, user_id)
       SELECT gen_random_uuid(), now() - i * interval '1 minute', 'paged', 'success', $1 FROM generate_series(1, 120) i`,
      [user.id],
    )
    const seen: string[] = []
    let next: string | undefined = '/console/audit?event=paged'
    for (let page = 0; next && page < 9; page++) {
      const shown: Shown = await site.get(next)
      seen.push(...times(shown))
      next = /href="([^"]+)" rel="next"/.exec(shown.text)?.[1]?.replaceAll('&amp;', '&')
    }
    expect(seen).toHaveLength(120)
    expect(seen).toEqual([...seen].sort().reverse())
    await rows(gateway, "DELETE FROM audit_log WHERE event = 'paged'")
  })

  it('shows the seal, and verifies it on request', async () => {
    expect((await site.get('/console/audit')).text).toContain('Not verified since this process started')
    const head = await gateway.app.platform.sealer.seal()
    expect((await site.get('/console/audit')).text).toContain(head!)
    expect((await site.get('/console/audit/verify')).text).toContain('Nothing is changed')
    expect((await site.post('/console/audit/verify')).to).toBe('/console/audit')
    expect((await site.get('/console/audit')).text).toContain('<span class="badge good">intact</span>')
    await rows(gateway, "UPDATE audit_log SET outcome = 'changed' WHERE event = 'key_revoke'")
    await site.post('/console/audit/verify')
    const { text } = await site.get('/console/audit')
    expect(text).toContain('<span class="badge bad">not intact</span>')
    expect(text).toContain('<strong>changed row</strong>')
  })
})

describe('last errors', () => {
  it('are shown newest first, by code and route, without a credential', async () => {
    await call(gateway, '/nowhere?token=hidden-in-the-query')
    await call(gateway, '/away')
    await call(gateway, '/orders', { token: 'hidden.in.header' })
    const { text } = await site.get('/console/errors')
    expect(text.indexOf('token_invalid')).toBeGreaterThan(0)
    const order = [...text.matchAll(/<code class="whole">(\w+)<\/code>/g)].map(([, code]) => code)
    expect(order.slice(0, 3)).toEqual(['token_invalid', 'upstream_unreachable', 'route_not_found'])
    expect(text).not.toContain('hidden')
    const some = await site.get('/console/errors?code=upstream_unreachable&route=away')
    expect([...some.text.matchAll(/<code class="whole">(\w+)<\/code>/g)].map(([, code]) => code)).toEqual(['upstream_unreachable'])
    expect((await site.get('/console/errors?code=none_such')).text).toContain('There are no such errors')
  })
})

describe('routes', () => {
  it('stand in their order, with access, limits and upstreams', async () => {
    const { text } = await site.get('/console/routes')
    const names = [...text.matchAll(/href="\/console\/why\?[^"]*">([\w-]+)</g)].map(([, name]) => name)
    expect(names).toEqual(['catalog', 'reports', 'orders', 'away'])
    expect(text).toContain('role admin')
    expect(text).toContain('per user or machine')
    expect(text).toContain(new URL(upstream.url).origin)
  })
})

describe('why', () => {
  const ask = (query: Record<string, string>) => site.get(`/console/why?${new URLSearchParams(query)}`)
  const answerOf = ({ text }: Shown) => /<strong>(Admitted|Refused)\.<\/strong>(?: (\d+))?/.exec(text)?.slice(1, 3)

  it.each([
    '/catalog',
    '/orders',
    '/reports',
    '/nowhere',
    '/catalog/..%2f',
    '/orders//x',
  ])('%s is answered as the gateway answers', async (url) => {
    const user = await newUser(gateway)
    const real = await call(gateway, url, { token: user.token })
    const said = answerOf(await ask({ method: 'GET', url, who: 'user', user: user.username }))
    expect(said).toEqual(real.status < 400 ? ['Admitted', undefined] : ['Refused', String(real.status)])
  })

  it('names the requirement that the caller does not meet', async () => {
    const { text } = await ask({ url: '/reports', who: 'roles', roles: 'user' })
    expect(text).toContain('The route needs role admin.')
    expect(answerOf(await ask({ url: '/reports', who: 'roles', roles: 'admin' }))).toEqual(['Admitted', undefined])
    expect(answerOf(await ask({ url: '/orders' }))).toEqual(['Refused', '401'])
  })

  it('a disabled user is refused, as each of the sessions is', async () => {
    const user = await newUser(gateway)
    await site.post(`/console/users/${user.id}/disable`)
    expect(answerOf(await ask({ url: '/orders', who: 'user', user: user.id }))).toEqual(['Refused', '401'])
  })

  it.each([
    [{ url: '' }, 'is required'],
    [{ url: '/orders', who: 'user' }, 'is required'],
    [{ url: '/orders', who: 'user', user: 'nobody-has-this-name' }, 'is not known'],
    [{ url: '/orders', minutes: '-1' }, 'does not have the right form'],
    [{ url: '/orders', address: 'no address' }, 'does not have the right form'],
    [{ url: '/orders', address: '10.0.0' }, 'does not have the right form'],
    [{ url: '/orders', who: 'roles', roles: 'user, amdin' }, 'is not known'],
    [{ url: `/${'x'.repeat(3000)}` }, 'is too long'],
  ])('%j is refused at its field', async (query, message) => {
    const shown = await ask(query)
    expect(shown.status).toBe(422)
    expect(shown.text).toContain(message)
  })
})

describe('configuration', () => {
  it('shows what was changed, or everything, and no secret', async () => {
    const changed = await site.get('/console/configuration')
    expect(changed.text).toContain('<code>auth.browser.enabled</code>')
    expect(changed.text).not.toContain('<code>server.maxHeaders</code>')
    const all = await site.get('/console/configuration?show=all')
    expect(all.text).toContain('<code>server.maxHeaders</code>')
    const password = new URL(gateway.databaseUrl).password
    if (password) expect(all.text).not.toContain(password)
    expect(all.text).not.toContain(gateway.secretKey)
  })
})

it('only an administrator sees these pages', async () => {
  const stranger = await consoleOf(gateway, await newUser(gateway))
  for (const path of ['health', 'audit', 'audit/verify', 'keys', 'keys/rotate', 'errors', 'routes', 'why', 'configuration'])
    expect((await stranger.get(`/console/${path}`)).status, path).toBe(403)
})
