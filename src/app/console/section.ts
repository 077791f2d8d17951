/** What a part of the console is, and what it is built from. */
import type { Administration } from '../../identity/admin/administration.service.ts'
import type { Clients } from '../../identity/oauth/clients.service.ts'
import type { Pages } from '../../identity/pages/page-kit.ts'
import type { Config } from '../../platform/config/schema.ts'
import type { Db, ReadReplica } from '../../platform/db/database.ts'
import type { ClientData } from '../../platform/geo/client-data.ts'
import type { Clock } from '../../platform/lib/clock.ts'
import type { ErrorRecord } from '../../platform/telemetry/error-record.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import type { HealthReport } from './health-history.ts'

/** One entry of the navigation, with its pages. Only administrators see them. A page with `submit` needs a recent login. */
export interface ConsoleSection {
  /** Below the console, such as `/users`. */
  path: string
  /** Its name in the navigation. */
  text: TextKey
  pages: Pages
}

/** The services that the pages use. */
export interface ConsoleParts {
  /** The path of the console, such as `/console`. Links begin with it. */
  base: string
  config: Config
  db: Db
  read: ReadReplica
  clock: Clock
  data: ClientData
  administration: Administration
  clients: Clients
  /** The errors of all processes, newest first. */
  lastErrors(): Promise<ErrorRecord[]>
  /** The health of all processes in the last hour. */
  health(): Promise<HealthReport>
  secrets: Secrets
}
