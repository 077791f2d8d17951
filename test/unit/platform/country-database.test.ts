import { describe, expect, test } from 'vitest'
import { countryName, isCountry, meantCountry } from '../../../src/platform/geo/country-codes.ts'
import { openCountryDatabase } from '../../../src/platform/geo/country-database.ts'
import { createGeo } from '../../../src/platform/geo/geo.ts'
import { countryDatabase } from '../../support/country-database.ts'

const COUNTRIES = { '81.2.69.0/24': 'GB', '192.0.2.0/25': 'DE', '2001:db8::/32': 'FR', '2001:db9:1::/48': 'US' }
const client = (address: string) => ({ address, isReadable: true, isProxy: false })

describe('a database of countries', () => {
  describe.each([24, 28, 32] as const)('with records of %i bits', (recordSize) => {
    test.each([
      ['81.2.69.142', 'GB'],
      ['81.2.70.1', null],
      ['192.0.2.127', 'DE'],
      ['192.0.2.128', null],
      ['2001:db8:ffff::1', 'FR'],
      ['2001:db9:1:2::3', 'US'],
      ['2001:db9:2::1', null],
      ['::1', null],
      ['10.0.0.1', null],
    ])('%s is in %s', (address, country) => {
      expect(openCountryDatabase(countryDatabase(COUNTRIES, { recordSize })).countryOf(address)).toBe(country)
    })
  })

  test('of IPv4 alone knows no country of an IPv6 address', () => {
    const { countryOf } = openCountryDatabase(countryDatabase({ '81.2.69.0/24': 'GB' }, { ipVersion: 4 }))
    expect([countryOf('81.2.69.1'), countryOf('2001:db8::1')]).toEqual(['GB', null])
  })

  test.each([
    ['country_code', (code: string) => ({ country: 'Germany', country_code: code })],
    ['country', (code: string) => ({ country: code })],
    ['country.iso_code of a city', (code: string) => ({ city: { names: { en: 'X' } }, country: { iso_code: code } })],
  ])('may have the code in %s', (_, recordOf) => {
    expect(openCountryDatabase(countryDatabase({ '192.0.2.0/24': 'DE' }, { recordOf })).countryOf('192.0.2.1')).toBe('DE')
  })

  test('says when it was made', () => {
    expect(openCountryDatabase(countryDatabase(COUNTRIES, { builtAt: 1_700_000_000 })).builtAt).toBe(1_700_000_000_000)
  })

  test('a text that is no code is no country', () => {
    const recordOf = (code: string) => ({ country: { iso_code: code === 'XX' ? '<b>' : code } })
    const { countryOf } = openCountryDatabase(countryDatabase({ '192.0.2.0/24': 'XX', '81.2.69.0/24': 'GB' }, { recordOf }))
    expect(countryOf('192.0.2.1')).toBeNull()
  })

  const whole = countryDatabase(COUNTRIES)
  test.each([
    ['an empty file', Buffer.alloc(0), 'is no MaxMind DB'],
    ['a text', Buffer.from('<html>404 Not Found</html>'), 'is no MaxMind DB'],
    ['a download that ended early', whole.subarray(0, whole.length >> 1), 'is no MaxMind DB, or the end of the file is missing'],
    ['a file whose beginning is missing', whole.subarray(400), 'is cut off'],
    ['a file whose metadata is damaged', Buffer.concat([whole.subarray(0, whole.length - 90), Buffer.alloc(90, 0xff)]), ''],
    [
      'another database',
      countryDatabase({ '192.0.2.0/24': 'AS64496' }, { recordOf: (name) => ({ autonomous_system: name }) }),
      'without countries',
    ],
    ['a database of no network', countryDatabase({}), 'without countries'],
  ])('%s is refused, and the message says what would be right', (_, content, message) => {
    expect(() => openCountryDatabase(content)).toThrow(
      expect.objectContaining({ message: expect.stringContaining(message), hint: expect.stringContaining('GeoLite2-Country.mmdb') }),
    )
  })
})

describe('the country of a client', () => {
  const { countryOf } = createGeo(openCountryDatabase(countryDatabase(COUNTRIES)))

  test.each(['::ffff:5102:458e', '0:0:0:0:0:ffff:5102:458e'])('an IPv4-mapped address (%s) is an IPv4 address', (address) => {
    expect(countryOf(client(address))).toBe('GB')
  })
  test('is unknown while the forwarding header cannot be read, and behind a proxy that hides the client', () => {
    expect(countryOf({ ...client('81.2.69.1'), isReadable: false })).toBeNull()
    expect(countryOf({ ...client('81.2.69.1'), isProxy: true })).toBeNull()
  })
  test('is unknown for what is no address', () => {
    expect(countryOf(client('unknown'))).toBeNull()
  })
})

describe('codes of countries', () => {
  test.each([
    ['DE', true],
    ['XK', true],
    ['de', false],
    ['UK', false],
    ['ZZ', false],
    ['', false],
  ])('%j: %s', (code, expected) => {
    expect(isCountry(code)).toBe(expected)
  })
  test.each([
    ['de', 'DE'],
    ['UK', 'GB'],
    ['GER', 'DE'],
  ])('who writes %s means %s', (text, meant) => {
    expect(meantCountry(text)).toContain(meant)
  })
  test('have names in the language of the reader', () => {
    expect([countryName('DE', 'en'), countryName('DE', 'de')]).toEqual(['Germany', 'Deutschland'])
  })
})
