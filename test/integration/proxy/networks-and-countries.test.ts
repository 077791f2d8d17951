/** Routes that only certain addresses may reach: networks from files, and countries. */
import { mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { newAddress } from '../../support/addresses.ts'
import { call } from '../../support/client.ts'
import { countryDatabase } from '../../support/country-database.ts'
import { useGateway, useKeep, useUpstream } from '../../support/fixtures.ts'
import { type Gateway, type GatewayOptions, metric, startGateway } from '../../support/gateway.ts'
import { until } from '../../support/processes.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-places-'))
const at = (name: string) => join(dir, name)
afterAll(() => rmSync(dir, { recursive: true }))

const COUNTRIES = { '81.2.69.0/24': 'GB', '192.0.2.0/24': 'DE', '2001:db8::/32': 'FR' }
writeFileSync(at('countries.mmdb'), countryDatabase(COUNTRIES))
writeFileSync(at('deny.txt'), '198.51.100.0/24\n')
writeFileSync(at('allow.txt'), '# the office\n203.0.113.7\n2001:db8:7::/48\n')

const upstream = useUpstream()
const route = (name: string, part: object) => ({ name, match: { path: `/${name}` }, upstream: [upstream.url], access: 'public', ...part })
const routes = () => [
  route('open', {}),
  route('denied', { networks: { denyFile: at('deny.txt') } }),
  route('allowed', { networks: { allow: ['203.0.113.99'], allowFile: at('allow.txt') } }),
  route('both', { networks: { allowFile: at('allow.txt'), deny: ['203.0.113.0/24'] } }),
  route('german', { access: { public: true, countries: { allow: ['DE'] } } }),
  route('german-or-unknown', { access: { public: true, countries: { allow: ['DE'], unknown: 'allow' } } }),
  route('no-british', { access: { public: true, countries: { deny: ['GB'] } } }),
  route('no-british-known', { access: { public: true, countries: { deny: ['GB'], unknown: 'deny' } } }),
  route('members', { access: { countries: { allow: ['DE'] } } }),
  route('admins', { access: { roles: ['admin'], countries: { allow: ['DE'] } } }),
]
const server = { trustedProxies: ['127.0.0.1/32'] }
const options = (more: object = {}): GatewayOptions => ({
  config: { server, geo: { database: at('countries.mmdb') }, ...more },
  routes: routes(),
})
const gateway = useGateway(() => options())
const keep = useKeep()

const get = (path: string, address: string | null, at: Gateway = gateway, headers: Record<string, string> = {}) =>
  call(at, path, { headers: { ...(address !== null && { 'x-forwarded-for': address }), ...headers } })
const answerOf = async (path: string, address: string | null, at: Gateway = gateway) => {
  const { status, body } = await get(path, address, at)
  return status === 403 ? body.code : status
}

describe('networks from files', () => {
  it.each([
    ['/denied', '198.51.100.9', 'forbidden'],
    ['/denied', '::ffff:198.51.100.9', 'forbidden'],
    ['/denied', '::ffff:c633:6409', 'forbidden'],
    ['/denied', '198.51.101.9', 200],
    ['/allowed', '203.0.113.7', 200],
    ['/allowed', '203.0.113.99', 200],
    ['/allowed', '203.0.113.8', 'forbidden'],
    ['/allowed', '2001:db8:7::1', 200],
    ['/allowed', '2001:db8:8::1', 'forbidden'],
    ['/both', '2001:db8:7::1', 200],
    ['/both', '203.0.113.7', 'forbidden'],
  ])('%s from %s: %s', async (path, address, expected) => {
    expect(await answerOf(path, address)).toBe(expected)
  })
})

describe('countries', () => {
  it.each([
    ['/german', '192.0.2.9', 200],
    ['/german', '::ffff:192.0.2.9', 200],
    ['/german', '81.2.69.142', 'country_refused'],
    ['/german', '10.0.0.1', 'country_refused'],
    ['/german-or-unknown', '10.0.0.1', 200],
    ['/german-or-unknown', '2001:db8::1', 'country_refused'],
    ['/no-british', '81.2.69.142', 'country_refused'],
    ['/no-british', '2001:db8::1', 200],
    ['/no-british', '10.0.0.1', 200],
    ['/no-british-known', '10.0.0.1', 'country_refused'],
    ['/no-british-known', '192.0.2.9', 200],
  ])('%s from %s: %s', async (path, address, expected) => {
    expect(await answerOf(path, address)).toBe(expected)
  })

  it('stand beside the need for a credential, and are judged first', async () => {
    expect((await get('/members', '81.2.69.142')).body.code).toBe('country_refused')
    expect((await get('/members', '192.0.2.9')).body.code).toBe('token_missing')
    expect((await get('/admins', '81.2.69.142')).body.code).toBe('country_refused')
    expect((await get('/admins', '192.0.2.9')).body.code).toBe('token_missing')
  })

  it('let authenticated callers through', async () => {
    const person = { username: 'lisa', email: 'lisa@example.com', password: 'a plain zebra of lisa' }
    const { body } = await call(gateway, '/auth/register', { body: person, headers: { 'x-forwarded-for': newAddress() } })
    const authorization = `Bearer ${body.access_token}`
    expect((await get('/members', '192.0.2.9', gateway, { authorization })).status).toBe(200)
    expect((await get('/members', '2001:db8::1', gateway, { authorization })).body.code).toBe('country_refused')
    expect((await get('/admins', '192.0.2.9', gateway, { authorization })).body.code).toBe('forbidden')
  })

  it('are unknown while the trusted proxy does not say who the client is', async () => {
    expect(await answerOf('/german', null)).toBe('country_refused')
    expect(await answerOf('/german-or-unknown', null)).toBe(200)
    expect(await answerOf('/german', 'unknown')).toBe('country_refused')
  })

  it('are counted and logged by their code, and no country is a label', async () => {
    const before = await metric(gateway, 'portcullis_errors_total', { code: 'country_refused', route: 'german' })
    await get('/german', '81.2.69.142')
    expect(await metric(gateway, 'portcullis_errors_total', { code: 'country_refused', route: 'german' })).toBe(before + 1)
    await until(() => gateway.log().some(({ outcome, route }) => outcome === 'country_refused' && route === 'german'), 'the change')
    expect(await (await fetch(`${gateway.adminUrl}/metrics`)).text()).not.toMatch(/="(GB|DE|FR)"/)
  })
})

describe('a header that the client sends itself', () => {
  it('says nothing without a trusted proxy', async () => {
    const bare = await keep(startGateway({ config: { geo: { database: at('countries.mmdb') } }, routes: routes() }))
    for (const name of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'cf-ipcountry'])
      expect(
        (await call(bare, '/german', { headers: { [name]: name === 'forwarded' ? 'for=192.0.2.9' : '192.0.2.9' } })).status,
        name,
      ).toBe(403)
  })

  it('counts only as far as the trusted proxy has added to it', async () => {
    expect(await answerOf('/german', '192.0.2.9, 81.2.69.142')).toBe('country_refused')
    expect(await answerOf('/german', '81.2.69.142, 192.0.2.9')).toBe(200)
  })

  it('that cannot be read hides the country, also where the peer would have one', async () => {
    const config = { server: { ...server, forwardedBy: 'forwarded' }, geo: { database: at('loopback.mmdb') } }
    writeFileSync(at('loopback.mmdb'), countryDatabase({ '127.0.0.0/8': 'DE', ...COUNTRIES }))
    const strict = await keep(startGateway({ config, routes: routes() }))
    const answer = (forwarded: string) => call(strict, '/german', { headers: { forwarded } }).then(({ status }) => status)
    expect(await answer('for=192.0.2.9')).toBe(200)
    // refused before any route, as a request that two readers could read in two ways
    expect(await answer('for="192.0.2.9')).toBe(400)
    expect(await answer('for=unknown')).toBe(403)
    expect(await answer('for=_hidden')).toBe(403)
  })
})

describe('a changed file', () => {
  const list = at('changing.txt')
  const database = at('changing.mmdb')
  const start = () => {
    writeFileSync(list, '198.51.100.0/24\n')
    writeFileSync(database, countryDatabase({ '81.2.69.0/24': 'DE' }))
    const config = { server, geo: { database } }
    const changing = [
      route('denied', { networks: { denyFile: list } }),
      route('german', { access: { public: true, countries: { allow: ['DE'] } } }),
    ]
    return keep(startGateway({ config, routes: changing }))
  }
  const reasons = (of: Gateway) => of.log().filter(({ reason }) => reason === 'data_file_unusable')

  it('is in force without a reload, by a plain write and by a rename', async () => {
    const own = await start()
    expect(await answerOf('/denied', '198.51.100.1', own)).toBe('forbidden')
    await writeFile(list, '203.0.113.0/24\n')
    await until(async () => (await answerOf('/denied', '203.0.113.1', own)) === 'forbidden', 'the change')
    expect(await answerOf('/denied', '198.51.100.1', own)).toBe(200)
    await writeFile(`${list}.new`, '198.51.100.0/24\n')
    await rename(`${list}.new`, list)
    await until(async () => (await answerOf('/denied', '198.51.100.1', own)) === 'forbidden', 'the change')
    await writeFile(`${database}.new`, countryDatabase({ '192.0.2.0/24': 'DE' }))
    await rename(`${database}.new`, database)
    await until(async () => (await answerOf('/german', '192.0.2.1', own)) === 200, 'the change')
    expect(await answerOf('/german', '81.2.69.1', own)).toBe('country_refused')
    expect(own.log().filter(({ msg }) => msg === 'a changed file is in force').length).toBeGreaterThanOrEqual(3)
  })

  it('that cannot be used changes nothing, is logged once with its line, and shows in the metric', async () => {
    const own = await start()
    await writeFile(list, '198.51.100.0/24\nnot a network\n')
    await until(async () => reasons(own).length === 1, 'the change')
    expect(reasons(own)[0]).toMatchObject({ kind: 'networks', cause: expect.stringContaining(`${list}:2: is no address and no network`) })
    expect(await answerOf('/denied', '198.51.100.1', own)).toBe('forbidden')
    expect(await metric(own, 'portcullis_data_file_last_reload_success', { kind: 'networks' })).toBe(0)
    expect(await metric(own, 'portcullis_data_file_last_reload_success', { kind: 'countries' })).toBe(1)

    await writeFile(database, Buffer.from('<html>Too many downloads</html>'))
    await until(async () => reasons(own).length === 2, 'the change')
    expect(reasons(own)[1]).toMatchObject({ kind: 'countries', cause: expect.stringContaining('is no MaxMind DB') })
    expect(await answerOf('/german', '81.2.69.1', own)).toBe(200)

    await writeFile(list, '203.0.113.0/24\n')
    await until(async () => (await answerOf('/denied', '203.0.113.1', own)) === 'forbidden', 'the change')
    expect(await metric(own, 'portcullis_data_file_last_reload_success', { kind: 'networks' })).toBe(1)
  })

  it('that is gone for a while keeps what was read, and is read again when it is back', async () => {
    const own = await start()
    unlinkSync(list)
    await until(async () => reasons(own).length === 1, 'the change')
    expect(await answerOf('/denied', '198.51.100.1', own)).toBe('forbidden')
    await writeFile(list, '203.0.113.0/24\n')
    await until(async () => (await answerOf('/denied', '203.0.113.1', own)) === 'forbidden', 'the change')
  })

  it('is found behind a link that is turned, as in a folder of Kubernetes', async () => {
    writeFileSync(at('one.txt'), '198.51.100.0/24\n')
    writeFileSync(at('two.txt'), '203.0.113.0/24\n')
    symlinkSync(at('one.txt'), at('link.txt'))
    const own = await keep(startGateway({ config: { server }, routes: [route('denied', { networks: { denyFile: at('link.txt') } })] }))
    symlinkSync(at('two.txt'), at('link.new'))
    await rename(at('link.new'), at('link.txt'))
    await until(async () => (await answerOf('/denied', '203.0.113.1', own)) === 'forbidden', 'the change')
  })

  it('is read at once by a reload of the configuration, and a file that is wrong refuses the reload', async () => {
    const own = await start()
    const withList = (file: string) => ({ config: { server }, routes: [route('denied', { networks: { denyFile: file } })] })
    await writeFile(list, '203.0.113.0/24\n')
    expect(await own.reload(withList(list))).toMatchObject({ status: 'reloaded' })
    expect(await answerOf('/denied', '203.0.113.1', own)).toBe('forbidden')
    await writeFile(at('wrong.txt'), '300.0.0.0/8\n')
    expect(await own.reload(withList(at('wrong.txt')))).toMatchObject({
      status: 'refused',
      problems: [expect.stringContaining('wrong.txt:1: is no address and no network')],
    })
    expect(await own.reload(withList(at('absent.txt')))).toMatchObject({
      status: 'refused',
      problems: [expect.stringContaining('there is no')],
    })
    expect(await answerOf('/denied', '203.0.113.1', own)).toBe('forbidden')
  })

  it('of another configuration is in force with it, and countries with another database', async () => {
    const own = await start()
    await writeFile(at('next.mmdb'), countryDatabase({ '192.0.2.0/24': 'DE' }))
    const next = { config: { server, geo: { database: at('next.mmdb') } }, routes: routes() }
    expect(await own.reload(next)).toMatchObject({ status: 'reloaded', needsRestart: [] })
    expect([await answerOf('/german', '192.0.2.1', own), await answerOf('/german', '81.2.69.1', own)]).toEqual([200, 'country_refused'])
    expect(await own.reload({ config: { server }, routes: [route('german', {})] })).toMatchObject({ status: 'reloaded' })
    expect(await answerOf('/german', '81.2.69.1', own)).toBe(200)
  })
})
