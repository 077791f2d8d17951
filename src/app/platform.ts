/** Builds the parts that any server needs: database, Redis, secrets, audit log and mail. */
import { createMailGate } from '../identity/users/mail-gate.ts'
import { type Audit, createAudit } from '../platform/audit/audit.ts'
import { type AuditRetention, createAuditRetention } from '../platform/audit/retention.ts'
import { createSealer, type Sealer } from '../platform/audit/sealer.ts'
import type { Config, Secrets as SecretValues } from '../platform/config/schema.ts'
import { formatProblem } from '../platform/config/source.ts'
import type { TracingSettings } from '../platform/config/tracing-variables.ts'
import { type Db, type OpenDatabase, openDatabase } from '../platform/db/database.ts'
import type { ClientData } from '../platform/geo/client-data.ts'
import { createDataFiles, type DataFiles } from '../platform/geo/data-files.ts'
import type { Job } from '../platform/jobs/schedule.ts'
import { type Clock, systemClock } from '../platform/lib/clock.ts'
import { createDatabaseClock, type DatabaseClock } from '../platform/lib/database-clock.ts'
import { VERSION } from '../platform/lib/version.ts'
import { createComposer, needsUtf8, type Transport } from '../platform/mail/message.ts'
import { createOutbox, type Outbox } from '../platform/mail/outbox.ts'
import { createSender, mailJobs, type Sender } from '../platform/mail/sender.ts'
import { openTransport } from '../platform/mail/transport.ts'
import { openRedis, type RedisConnections } from '../platform/redis/redis.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import { createMetrics, type Metrics } from '../platform/telemetry/metrics.ts'
import { recordEnded } from '../platform/telemetry/recording.ts'
import { openTracing, type Tracing } from '../platform/telemetry/tracing.ts'
import { readTextFiles } from '../platform/texts/text-files.ts'
import { createTexts, type Texts } from '../platform/texts/texts.ts'
import { createSecrets, type Secrets } from '../platform/vault/secrets.ts'

export interface PlatformOptions {
  config: Config
  secrets: SecretValues
  logger: Logger
  /** A test moves the time. Default: the time of the database. */
  clock?: Clock | DatabaseClock
  /** Delivers mails. Default: the transport of the configuration. */
  transport?: Transport | undefined
  /** Where spans go. Default: nowhere. */
  tracing?: TracingSettings | null
  /** False when another process of the gateway logs this notice. Default: this process logs all of them. */
  isFirstNotice?: ((reason: string) => Promise<boolean>) | undefined
}

export interface Platform {
  config: Config
  logger: Logger
  /** The time of the database, as far as it was measured. */
  clock: DatabaseClock
  metrics: Metrics
  tracing: Tracing
  database: OpenDatabase
  db: Db
  /** Null without Redis: this process counts the limits. */
  redis: RedisConnections | null
  /** All files of networks and of countries. `prepare` reads them, so that a command which judges no request needs none. */
  dataFiles: DataFiles
  /** The files of this configuration. */
  data: ClientData
  secrets: Secrets
  /** The client secrets of `auth.providers`, by the id of the provider. */
  providerSecrets: SecretValues['providers']
  /** Of pages and mails. */
  texts: Texts
  audit: Audit
  sealer: Sealer
  removeOldAudit: AuditRetention
  outbox: Outbox
  /** Whether mails to this address can be sent: see `Transport.takesUtf8`. */
  isMailable(address: string): Promise<boolean>
  sender: Sender
  /** Mails that are sent from now on look as this configuration says. */
  composeBy(look: Pick<Platform, 'config' | 'texts'>): void
  /** To run in one process of the gateway only. */
  jobs: Job[]
  close(): Promise<void>
}

/** @throws when PORTCULLIS_SECRET_KEY is missing, or the folder of an embedded database is in use */
export async function openPlatform({
  config,
  secrets: values,
  logger,
  clock: given,
  transport,
  tracing: tracingSettings = null,
  isFirstNotice,
}: PlatformOptions): Promise<Platform> {
  if (!values.secretKey) throw new Error('PORTCULLIS_SECRET_KEY is required')
  const clock = given === undefined ? createDatabaseClock(systemClock) : 'measure' in given ? given : createDatabaseClock(given, false)
  const metrics = createMetrics(VERSION)
  const tracing = await openTracing({ settings: tracingSettings, host: new URL(config.server.publicUrl).hostname, logger, metrics })
  const observeQuery = (operation: string, seconds: number, error?: unknown) => {
    metrics.dbQuerySeconds.observe({ operation }, seconds)
    recordEnded(operation, { 'db.system.name': 'postgresql', 'db.operation.name': operation }, seconds, error)
  }
  const database = await openDatabase(config.database, logger, observeQuery)
  const { db } = database
  const redis = config.redis.url === 'memory' ? null : openRedis(config.redis.url, { logger, metrics })
  const secrets = createSecrets(values.secretKey, values.previousSecretKey)
  const audit = createAudit({ secrets })
  const { sealSeconds, retentionDays } = config.auth.audit
  const sealer = createSealer({ db, secrets, audit, sealSeconds, metrics, logger })
  const texts = openTexts(config)
  let compose = createComposer(config, texts)
  const mails = transport ?? openTransport(config, (message) => compose(message), logger)
  const dataFiles = createDataFiles({ logger, metrics, isFirstNotice: isFirstNotice ?? (async () => true) })
  const sender = createSender({ db, secrets, transport: mails, metrics, logger })

  return {
    config,
    logger,
    clock,
    metrics,
    tracing,
    database,
    db,
    redis,
    dataFiles,
    data: dataFiles.dataOf(config),
    secrets,
    providerSecrets: values.providers,
    texts,
    audit,
    sealer,
    removeOldAudit: createAuditRetention({ secrets, audit, retentionDays }),
    outbox: openOutbox(secrets, config),
    isMailable: async (address) => !needsUtf8(address) || (await mails.takesUtf8?.()) !== false,
    sender,
    composeBy: (look) => {
      compose = createComposer(look.config, look.texts)
    },
    jobs: [{ name: 'audit seal', everySeconds: sealSeconds, run: sealer.sealWhenDue }, ...mailJobs(db, sender, metrics)],
    async close() {
      dataFiles.stop()
      mails.close()
      redis?.close()
      await database.close()
      await tracing.close()
    },
  }
}

const openOutbox = (secrets: Secrets, config: Config): Outbox =>
  createMailGate({ outbox: createOutbox({ secrets }), secrets, limit: config.limits.credentials.mail })

/** The same stores and connections, with the parts that follow from another configuration. @throws for a file of texts that cannot be used */
export const withConfig = (platform: Platform, config: Config): Platform => ({
  ...platform,
  config,
  data: platform.dataFiles.dataOf(config),
  texts: openTexts(config),
  outbox: openOutbox(platform.secrets, config),
})

/** @throws for a file of texts that cannot be used; `check` has reported it before */
function openTexts({ auth: { browser } }: Config): Texts {
  const { texts, problems } = readTextFiles(browser.texts)
  if (problems.length) throw new Error(`auth.browser.texts: ${problems.map(formatProblem).join('\n')}`)
  return createTexts(browser.languages, texts)
}
