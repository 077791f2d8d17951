/** The files by which requests are judged: networks, and the countries of addresses. */
import { readFileSync } from 'node:fs'
import type { Config } from '../config/schema.ts'
import type { Networks } from '../request/client-address.ts'
import { readNetworks } from '../request/network-file.ts'
import { openCountryDatabase } from './country-database.ts'
import { createGeo, type Geo, NO_GEO } from './geo.ts'

export interface ClientData {
  /** The networks of a file that the configuration names. */
  networksOf(file: string): Networks
  geo: Geo
}

/** Files of networks that routes name, each once. */
export const networkFilesOf = ({ routes }: Pick<Config, 'routes'>): string[] => [
  ...new Set(routes.flatMap(({ networks: { allowFile, denyFile } }) => [allowFile, denyFile].filter((file) => file !== undefined))),
]

/** For a command: reads the files once. @throws when a file cannot be used */
export function readClientData(config: Config): ClientData {
  const lists = new Map(networkFilesOf(config).map((file) => [file, read(file)]))
  const { database } = config.geo
  return {
    networksOf: (file) => lists.get(file)!,
    geo: database === undefined ? NO_GEO : createGeo(openCountryDatabase(readFileSync(database))),
  }
}

function read(file: string): Networks {
  const steps = readNetworks(file, readFileSync(file))
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
