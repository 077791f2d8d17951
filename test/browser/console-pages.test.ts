/** The pages of the console about the gateway itself, in a browser: readable, complete and without complaints, in every form. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { scrollsSideways, useBrowserGateway, type Visit, type VisitOptions } from '../support/browser-gateway.ts'
import { call, newUserWithRoles, type TestUser } from '../support/client.ts'
import { countryDatabase } from '../support/country-database.ts'
import { until } from '../support/processes.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const PAGES = [
  '/health',
  '/audit',
  '/audit/verify',
  '/keys',
  '/keys/rotate',
  '/keys/replace',
  '/errors',
  '/routes',
  '/why',
  '/why?method=GET&url=/reports&who=roles&roles=user&factor=without',
  // a country that is not judged, one that is refused, and a route that another proxy serves
  '/why?url=/german',
  '/why?method=GET&url=/german&who=anonymous&factor=without&address=2001:db8::7',
  '/why?method=POST&url=/app/files&who=roles&roles=user&factor=without&address=192.0.2.7',
  '/configuration',
  '/configuration?show=all',
]

const dir = mkdtempSync(join(tmpdir(), 'portcullis-console-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const database = join(dir, 'countries.mmdb')
writeFileSync(database, countryDatabase({ '192.0.2.0/24': 'DE', '2001:db8::/32': 'FR' }))

const upstream = ['http://127.0.0.1:9']
const countries = { allow: ['AT', 'CH', 'DE', 'LI', 'LU', 'NL', 'BE', 'DK', 'PL', 'CZ'], deny: ['XK'], unknown: 'allow' }
const gateway = useBrowserGateway({
  config: {
    geo: { database },
    server: { trustedProxies: ['127.0.0.1/32'] },
    forwardAuth: { dialect: 'caddy' },
    issuers: [
      {
        id: 'cluster',
        issuer: 'https://kubernetes.default.svc.cluster.local',
        jwksUri: 'http://127.0.0.1:9/openid/v1/jwks',
        audience: ['portcullis', 'https://api.example.com'],
        algorithms: ['RS256'],
        typ: 'none',
        require: { '/kubernetes.io/namespace': ['shop'] },
        roles: { claim: 'sub', map: { 'system:serviceaccount:shop:importer': ['user'] } },
      },
    ],
  },
  routes: [
    { name: 'german', match: { path: '/german' }, upstream, access: { public: true, countries } },
    { name: 'app', match: { path: '/app' }, access: 'authenticated', forwardAuth: true },
    { name: 'app-admin', match: { path: '/app/admin' }, access: { roles: ['admin'], countries: { allow: ['DE'] } }, forwardAuth: true },
    { name: 'catalog', match: { path: '/catalog', methods: ['GET'] }, upstream, access: 'public' },
    { name: 'orders', match: { path: '/orders' }, upstream, access: 'authenticated', limits: ['perUser'], websocket: true },
    { name: 'reports', match: { path: '/reports', host: 'shop.test' }, upstream, access: { roles: ['admin'], mfa: true } },
    { name: 'reports-any', match: { path: '/reports' }, upstream, access: { roles: ['admin'], maxAuthAgeSeconds: 600 } },
  ],
})
let admin: TestUser

beforeAll(async () => {
  admin = await newUserWithRoles(gateway, ['admin'])
  // something to look at
  for (const path of ['/orders', '/nowhere', '/catalog', '/reports']) await call(gateway, path)
  for (let i = 0; i < 30; i++) await call(gateway, i % 3 ? '/auth/me' : '/health', i % 2 ? { token: admin.token } : {})
})

async function visitConsole(options: VisitOptions = {}): Promise<Visit & { show(path: string): Promise<void> }> {
  const visit = await gateway.visit(options)
  const show = (path: string) => visit.open(`${gateway.adminUrl}/console${path}`)
  await show('/login')
  await visit.page.fill('[name=login]', admin.username)
  await visit.page.fill('[name=password]', admin.password)
  await Promise.all([visit.page.waitForURL((url) => !url.pathname.endsWith('/login')), visit.page.click('main form button')])
  return { ...visit, show }
}

/** Requests to the admin listener are no complaint here. */
const complaintsOf = ({ complaints }: Visit) => complaints.filter((text) => !text.startsWith(`elsewhere: ${gateway.adminUrl}/`))

describe.each<[string, VisitOptions]>([
  ['wide', {}],
  ['narrow', { isNarrow: true }],
  ['dark', { isDark: true }],
  ['narrow, dark and in German', { isNarrow: true, isDark: true, isGerman: true }],
])('%s', (_, options) => {
  it('no page has a fault that axe finds, scrolls sideways, or complains', async () => {
    const visit = await visitConsole(options)
    for (const path of PAGES) {
      await visit.show(path)
      expect(await visit.violations(), path).toEqual([])
      expect(await scrollsSideways(visit.page), path).toBe(false)
    }
    expect(complaintsOf(visit)).toEqual([])
    await visit.close()
  })
})

it('times are UTC as the foot says, wherever the reader is', async () => {
  const visit = await visitConsole()
  const devtools = await visit.page.context().newCDPSession(visit.page)
  await devtools.send('Emulation.setTimezoneOverride', { timezoneId: 'America/New_York' })
  await visit.show('/audit')
  const time = visit.page.locator('.dense time').first()
  const at = await time.getAttribute('datetime')
  expect(await time.textContent()).toBe(at?.slice(0, 19).replace('T', ' '))
  await visit.close()
})

it('without JavaScript a key is rotated, and a question is answered', async () => {
  const visit = await visitConsole({ hasJavaScript: false })
  await visit.show('/keys')
  await visit.page.click('text=Rotate')
  expect(await visit.text()).toContain('Nobody is logged out')
  await visit.page.click('main form button')
  expect(await visit.text()).toContain('A new key is published.')
  expect(await visit.page.locator('tbody tr').count()).toBe(2)

  await visit.show('/why')
  await visit.page.fill('[name=url]', '/reports')
  await visit.page.selectOption('[name=who]', 'user')
  await visit.page.fill('[name=user]', admin.username)
  await visit.page.click('main form button')
  expect(await visit.text()).toContain('Admitted.')
  await visit.close()
})

it('the page of health draws its charts once two samples are taken', async () => {
  const visit = await visitConsole()
  await until(
    async () => {
      await visit.show('/health')
      return (await visit.page.locator('.chart path').count()) > 0
    },
    'a sample',
    45_000,
  )
  expect(await visit.page.locator('figure.chart').count()).toBe(9)
  expect(await visit.text()).toContain('As of')
  expect(complaintsOf(visit)).toEqual([])
  await visit.close()
})
