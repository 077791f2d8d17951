/** The files by which requests are judged: networks, and the countries of addresses. */
import { readFileSync } from 'node:fs'
import { isFileName } from '../config/harmless.ts'
import type { Config } from '../config/schema.ts'
import { fileErrorText } from '../lib/errors.ts'
import { memoize } from '../lib/memoize.ts'
import { runSteps } from '../lib/run-steps.ts'
import type { Networks } from '../request/client-address.ts'
import { readNetworks } from '../request/network-file.ts'
import { openCountryDatabase } from './country-database.ts'
import { createGeo, type Geo, NO_GEO } from './geo.ts'

export interface ClientData {
  /** The networks of a file that the configuration names. */
  networksOf(file: string): Networks
  geo: Geo
}

/** Networks that are asked for each time that they are used. */
export const networksBy = (current: () => Networks): Networks => ({
  get isEmpty() {
    return current().isEmpty
  },
  has: (address) => current().has(address),
})

/** Files of networks that routes name, each once. */
export const networkFilesOf = ({ routes }: Pick<Config, 'routes'>): string[] => [
  ...new Set(routes.flatMap(({ networks: { allowFile, denyFile } }) => [allowFile, denyFile].filter((file) => file !== undefined))),
]

/** A question needs a file that cannot be read here. */
export class DataFileUnread extends Error {
  readonly hint = 'put the file there, or ask without the address of a client'
  constructor(file: string, error: unknown) {
    super(`${isFileName(file) ? file : 'a file of networks or countries'}: cannot be read: ${fileErrorText(error)}`)
  }
}

/**
 * For a command: reads each file once, when it is first needed. A command may run where the files of the gateway are not.
 * Its parts throw DataFileUnread.
 */
export function readClientData(config: Config): ClientData {
  const listOf = memoize((file: string) => runSteps(readNetworks(file, read(file))), MAX_FILES)
  const databaseOf = memoize((file: string) => openCountryDatabase(read(file)), 1)
  const { database } = config.geo
  return {
    networksOf: (file) => networksBy(() => listOf(file)),
    geo: database === undefined ? NO_GEO : createGeo({ countryOf: (address) => databaseOf(database).countryOf(address) }),
  }
}

const MAX_FILES = 1000

function read(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new DataFileUnread(file, error)
  }
}
