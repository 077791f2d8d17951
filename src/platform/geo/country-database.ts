/** Reads databases of countries in the MaxMind DB format 2.0, https://maxmind.github.io/MaxMind-DB/. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Reader, Response } from 'mmdb-lib'
import { isFileName } from '../config/harmless.ts'
import type { ConfigProblem } from '../config/source.ts'
import { fileErrorText } from '../lib/errors.ts'
import { isCountry } from './country-codes.ts'

export interface CountryDatabase {
  /** @returns the code of ISO 3166-1; null when the database has no country for the address */
  countryOf(address: string): string | null
  /** When the database was made. Milliseconds since the epoch. */
  builtAt: number
}

/** The file cannot be used. */
export class CountryDatabaseError extends Error {
  readonly hint: string
  constructor(message: string, hint: string) {
    super(message)
    this.hint = hint
  }
}

export const MAX_DATABASE_BYTES = 512 * 1024 * 1024
const METADATA_MARKER = Buffer.from('abcdef4d61784d696e642e636f6d', 'hex')
/** The format: the metadata is in the last 128 KiB. */
const METADATA_BYTES = 128 * 1024
const SEPARATOR_BYTES = 16
/** Networks that are looked at before a file counts as none of countries. */
const LOOKED_AT = 5000
const RIGHT = 'name a MaxMind DB file (.mmdb) with countries, such as GeoLite2-Country.mmdb or dbip-country-lite.mmdb, and fetch it again'

/** The package is loaded where a database is used, and nowhere else. */
const load = () => createRequire(import.meta.url)('mmdb-lib') as typeof import('mmdb-lib')

/** @throws CountryDatabaseError for what is no database, is cut off, or holds no countries */
export function openCountryDatabase(content: Buffer): CountryDatabase {
  const marker = content.lastIndexOf(METADATA_MARKER)
  if (marker < 0 || content.length - marker > METADATA_BYTES)
    throw new CountryDatabaseError('is no MaxMind DB, or the end of the file is missing', RIGHT)
  const reader = readerOf(content)
  const { nodeCount, ipVersion, searchTreeSize, buildEpoch, binaryFormatMajorVersion } = reader.metadata
  if (binaryFormatMajorVersion !== 2 || (ipVersion !== 4 && ipVersion !== 6))
    throw new CountryDatabaseError('is of another version of the MaxMind DB format than 2', RIGHT)
  if (!(nodeCount > 0) || searchTreeSize + SEPARATOR_BYTES > marker) throw new CountryDatabaseError('is cut off', RIGHT)
  if (!hasCountries(reader, content)) throw new CountryDatabaseError('is a MaxMind DB without countries', RIGHT)
  return { countryOf: (address) => countryIn(reader, address), builtAt: buildEpoch.getTime() }
}

function readerOf(content: Buffer): Reader<Response> {
  const { Reader } = load()
  try {
    return new Reader(content, { cache: createRecordCache() })
  } catch {
    throw new CountryDatabaseError('is a MaxMind DB that is damaged or cut off', RIGHT)
  }
}

type Metadata = Reader<Response>['metadata']

/** A database has few records of countries, and millions of networks that lead to them. */
function createRecordCache() {
  const records = new Map<string | number, unknown>()
  return {
    get: (key: string | number) => records.get(key),
    set(key: string | number, value: unknown) {
      if (records.size >= MAX_RECORDS) records.clear()
      records.set(key, value)
    },
  }
}
const MAX_RECORDS = 4096

/** The forms of records: `country.iso_code` of MaxMind and DB-IP, `country_code` of IPinfo Lite and ip-location-db, and `country` with a code. */
interface CountryRecord {
  country?: { iso_code?: unknown } | string
  country_code?: unknown
}

function countryIn(reader: Reader<Response>, address: string): string | null {
  let record: CountryRecord | null
  try {
    record = reader.get(address) as CountryRecord | null
  } catch {
    // a part of the file that makes no sense: the country is unknown
    return null
  }
  if (typeof record !== 'object' || record === null) return null
  const { country, country_code } = record
  const code = (typeof country === 'object' && country !== null ? country.iso_code : country_code) ?? country
  return typeof code === 'string' && isCountry(code) ? code : null
}

function hasCountries(reader: Reader<Response>, content: Buffer): boolean {
  for (const address of firstNetworks(content, reader.metadata)) if (countryIn(reader, address) !== null) return true
  return false
}

/** The first addresses of networks that have a record, in the order of the search tree. */
function* firstNetworks(content: Buffer, { nodeCount, recordSize, nodeByteSize, ipVersion }: Metadata): Generator<string> {
  const width = ipVersion === 4 ? 32 : 128
  const open: [node: number, path: string][] = [[0, '']]
  for (let looked = 0, found = 0; looked < LOOKED_AT * width && found < LOOKED_AT; looked++) {
    const next = open.pop()
    if (next === undefined) return
    const [node, path] = next
    if (node > nodeCount) {
      found++
      yield addressAt(path.padEnd(width, '0'))
    } else if (node < nodeCount && path.length < width)
      for (const side of [1, 0] as const) open.push([recordAt(content, node * nodeByteSize, recordSize, side), `${path}${side}`])
  }
}

function recordAt(content: Buffer, at: number, recordSize: number, side: 0 | 1): number {
  if (recordSize === 32) return content.readUInt32BE(at + 4 * side)
  if (recordSize === 24) return content.readUIntBE(at + 3 * side, 3)
  // the byte in the middle holds the upper bits of both
  const high = side === 0 ? content[at + 3]! >> 4 : content[at + 3]! & 0x0f
  return high * 0x1000000 + content.readUIntBE(at + 4 * side, 3)
}

function addressAt(bits: string): string {
  const groupBits = bits.length === 32 ? 8 : 16
  const groups = bits.match(new RegExp(`.{${groupBits}}`, 'g'))!.map((group) => Number.parseInt(group, 2))
  return bits.length === 32 ? groups.join('.') : groups.map((group) => group.toString(16)).join(':')
}

/** @returns what is wrong with a file; null for a good file, and for a file that is not on this machine */
export function problemOfCountryDatabase(file: string): Omit<ConfigProblem, 'where' | 'path'> | null {
  try {
    openCountryDatabase(readFileSync(file))
    return null
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    const name = isFileName(file) ? file : 'this file'
    if (error instanceof CountryDatabaseError) return { message: `${name} ${error.message}`, hint: error.hint }
    return { message: `${name} cannot be read: ${fileErrorText(error)}`, hint: 'name a file that this user can read' }
  }
}
