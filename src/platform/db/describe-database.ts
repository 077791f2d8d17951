/** Names the database of a configuration for people, without user and password. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Config } from '../config/schema.ts'
import { hostsOf } from './hosts.ts'

/** The folder of the embedded database in `dataDir`. */
export const embeddedFolder = (dataDir: string): string => join(dataDir, 'pglite')

/** False: opening this database would create it. */
export const isDatabaseThere = ({ url, dataDir }: Config['database']): boolean => url !== 'embedded' || existsSync(embeddedFolder(dataDir))

/** `portcullis on db.example.com:5432`, `portcullis on db1:5432, db2:5432`, or `embedded in ./data` */
export function describeDatabase({ url, dataDir }: Config['database']): string {
  if (url === 'embedded') return `embedded in ${dataDir}`
  // a password with / or ? that is not percent-encoded would be taken for the name of a database
  if (/^[^:]*:\/\/[^/?#]*[/?#].*@/s.test(url)) return 'Postgres'
  try {
    const urls = hostsOf(url)
    const { database } = new pg.Client({ connectionString: urls[0]! })
    return `${database} on ${urls.map(hostName).join(', ')}`
  } catch {
    return 'Postgres'
  }
}

/** `db.example.com:5432`, of a URL with one host */
export function hostName(url: string): string {
  const { host, port } = new pg.Client({ connectionString: url })
  return `${host}:${port}`
}
