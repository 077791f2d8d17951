/** Networks and countries in the configuration: each mistake is named by `check`, and nothing starts. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../../support/cli.ts'
import { countryDatabase } from '../../support/country-database.ts'
import { createDataDir } from '../../support/embedded.ts'

const dir = mkdtempSync(join(tmpdir(), 'portcullis-bad-places-'))
const at = (name: string) => join(dir, name)
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const env = { PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'), PORTCULLIS_DATABASE__DATA_DIR: at('database') }
beforeAll(() => createDataDir(at('database')))

const whole = countryDatabase({ '192.0.2.0/24': 'DE' })
writeFileSync(at('good.mmdb'), whole)
writeFileSync(at('cut.mmdb'), whole.subarray(0, whole.length - 200))
writeFileSync(at('page.mmdb'), '<!doctype html><title>Not Found</title>')
writeFileSync(at('asn.mmdb'), countryDatabase({ '192.0.2.0/24': 'x' }, { recordOf: () => ({ autonomous_system_number: 64496 }) }))
writeFileSync(at('good.txt'), '192.0.2.0/24\n')
writeFileSync(at('bad.txt'), '192.0.2.0/24\n192.0.2.0/33\n')
writeFileSync(at('empty.txt'), '')

interface Setting {
  access?: unknown
  networks?: unknown
  geo?: unknown
  auth?: unknown
}
async function run(command: 'check' | 'serve', { access = 'public', networks = {}, geo = {}, auth = {} }: Setting) {
  const file = at('config.json')
  const server = { host: '127.0.0.1', port: 0, publicUrl: 'http://gateway.test' }
  const routes = [{ name: 'a', match: { path: '/a' }, upstream: ['http://a'], access, networks }]
  writeFileSync(file, JSON.stringify({ server, admin: { port: 0 }, geo, auth, routes }))
  return runCli([command, file], env)
}
const geo = { database: at('good.mmdb') }
const inCountries = (countries: object) => ({ geo, access: { public: true, countries } })

describe.each(['check', 'serve'] as const)('%s refuses', (command) => {
  it.each<[what: string, setting: Setting, ...parts: string[]]>([
    [
      'a wrong line of a file',
      { networks: { denyFile: at('bad.txt') } },
      'bad.txt:2: is no address and no network',
      'write one address or network',
    ],
    ['an empty file', { networks: { allowFile: at('empty.txt') } }, 'empty.txt: is empty', 'a comment such as # none'],
    ['a folder in place of a file', { networks: { allowFile: dir } }, 'cannot be read: EISDIR', 'name a text file'],
    [
      'a page in place of a database',
      { geo: { database: at('page.mmdb') } },
      'geo.database: ',
      'is no MaxMind DB',
      'GeoLite2-Country.mmdb',
    ],
    [
      'a database that is cut off',
      { geo: { database: at('cut.mmdb') } },
      'geo.database: ',
      'is a MaxMind DB that is damaged or cut off',
      'fetch it again',
    ],
    ['a database of something else', { geo: { database: at('asn.mmdb') } }, 'geo.database: ', 'is a MaxMind DB without countries'],
    [
      'countries without a database',
      { access: { public: true, countries: { allow: ['DE'] } } },
      'access.countries: needs geo.database',
      'set geo.database',
    ],
    ['newCountry without a database', { auth: { newCountry: 'factor' } }, 'auth.newCountry: needs geo.database'],
    ['a word that is no mode', { geo, auth: { newCountry: 'dney' } }, 'auth.newCountry: must be notify | factor | deny, not "dney"'],
    ['small letters', inCountries({ allow: ['de'] }), 'countries.allow[0]: must be the code of a country, not "de"', 'did you mean DE?'],
    ['UK', inCountries({ deny: ['FR', 'UK'] }), 'countries.deny[1]: must be the code of a country, not "UK"', 'did you mean GB?'],
    ['a list of no country', inCountries({ allow: [] }), 'countries.allow: '],
    ['an unknown word', inCountries({ allow: ['DE'], unknown: 'no' }), 'countries.unknown: '],
    ['a wrong key', inCountries({ alow: ['DE'] }), 'did you mean allow?'],
    ['public beside a requirement', { access: { public: true, roles: ['admin'] } }, 'public cannot stand beside a requirement'],
  ])('%s', async (_, setting, ...parts) => {
    const { code, stderr } = await run(command, setting)
    expect(code, stderr).toBe(2)
    for (const part of parts) expect(stderr).toContain(part)
    expect(stderr).not.toMatch(/\n {4}at /)
  })
})

it('check takes good files', async () => {
  const setting = { ...inCountries({ allow: ['DE'], unknown: 'allow' }), networks: { allowFile: at('good.txt'), denyFile: at('good.txt') } }
  expect(await run('check', { ...setting, auth: { newCountry: 'deny' } })).toMatchObject({ code: 0 })
})

it('a file that is not on this machine is a warning of check, and serve does not start without it', async () => {
  for (const setting of [{ geo: { database: at('absent.mmdb') } }, { networks: { denyFile: at('absent.txt') } }]) {
    const checked = await run('check', setting)
    expect(checked.code).toBe(0)
    expect(`${checked.stdout}${checked.stderr}`).toContain('on this machine')
    const served = await run('serve', setting)
    expect(served.code).not.toBe(0)
    expect(served.stderr + served.stdout).toMatch(/absent/)
  }
})
