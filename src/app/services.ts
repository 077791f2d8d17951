import { createAccountErasure } from '../identity/accounts/account-erasure.ts'
import { createDevices } from '../identity/accounts/devices.ts'
import { createAdministration } from '../identity/admin/administration.service.ts'
import { bootstrapAdmin } from '../identity/admin/bootstrap.service.ts'
import { createImport } from '../identity/admin/import.service.ts'
import type { Hasher } from '../identity/credentials/hasher.ts'
import { createPasswordPolicy } from '../identity/credentials/password-policy.ts'
import { createPasswords } from '../identity/credentials/passwords.ts'
import { resealFactors } from '../identity/factors/reseal-factors.ts'
import { createClients } from '../identity/oauth/clients.service.ts'
import { createAccounts } from '../identity/sessions/account-transaction.ts'
import { createRevocations } from '../identity/sessions/revocations.ts'
import { createKeyring } from '../identity/tokens/keyring.ts'
import { createLastAdmin } from '../identity/users/last-admin.ts'
import { createAudit } from '../platform/audit/audit.ts'
import { createAuditRetention } from '../platform/audit/retention.ts'
import { createSealer } from '../platform/audit/sealer.ts'
import type { Config, Secrets as SecretValues } from '../platform/config/schema.ts'
import { openDatabase } from '../platform/db/database.ts'
import { migrateUp } from '../platform/db/migrate.ts'
import type { Job } from '../platform/jobs/schedule.ts'
import { type Clock, systemClock } from '../platform/lib/clock.ts'
import { VERSION } from '../platform/lib/version.ts'
import type { Transport } from '../platform/mail/message.ts'
import { createOutbox } from '../platform/mail/outbox.ts'
import { createSender, mailJobs } from '../platform/mail/sender.ts'
import { openTransport } from '../platform/mail/transport.ts'
import { type Broadcast, openRedis } from '../platform/redis.ts'
import type { ErrorRecord } from '../platform/telemetry/error-record.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import { createMetrics } from '../platform/telemetry/metrics.ts'
import { createSecrets } from '../platform/vault/secrets.ts'
import type { Resolve } from '../proxy/upstream/dns.ts'
import { createCleanup, createRetryErasure } from './cleanup.ts'
import type { SchemaCompilers } from './server.ts'

export interface BuildOptions {
  config: Config
  secrets: SecretValues
  logger: Logger
  clock?: Clock
  /** How the names of upstreams are looked up; by the system unless told otherwise. */
  resolve?: Resolve | undefined
  /** How mails leave; as the configuration says unless told otherwise. */
  transport?: Transport | undefined
  /** What hashes passwords; a process of its own unless told otherwise. */
  hasher?: Hasher | undefined
  /** What makes functions of route schemas; Fastify unless told otherwise. */
  compilers?: SchemaCompilers | undefined
  /** The demo's admin may keep the generated password. */
  adminMustChangePassword?: boolean
  /** This process is one of several that serve. What is to be done once is done by their supervisor. */
  team?: Team
}

export interface Team {
  workers: number
  siblings: Broadcast & { lastErrors(): Promise<ErrorRecord[]> }
}

/** What the commands of an operator work with: everything but the listeners. */
export type Core = Awaited<ReturnType<typeof buildCore>>

export async function buildCore({ config, secrets: values, logger, clock = systemClock, transport, hasher, team }: BuildOptions) {
  if (!values.secretKey) throw new Error('PORTCULLIS_SECRET_KEY is required')
  const metrics = createMetrics(VERSION)
  const database = await openDatabase(config.database, logger, (operation, seconds) =>
    metrics.dbQuerySeconds.observe({ operation }, seconds),
  )
  const { db } = database
  const redis = config.redis.url === 'memory' ? null : openRedis(config.redis.url, logger)
  const secrets = createSecrets(values.secretKey, values.previousSecretKey)
  const keyring = createKeyring({ db, secrets, tokens: config.tokens, logger, now: () => clock.now() })
  const revocations = createRevocations({
    db,
    clock,
    logger,
    broadcasts: [team?.siblings, redis?.broadcast].filter((b) => b !== undefined),
  })
  const passwords = await createPasswords(config.auth.password, metrics, hasher)
  const policy = createPasswordPolicy(config, metrics, logger)
  const audit = createAudit({ secrets })
  const accounts = createAccounts({ db, audit, revocations, metrics, tokens: config.tokens })
  const outbox = createOutbox({ secrets })
  const devices = createDevices({ db, outbox })
  const mails = transport ?? openTransport(config, logger)
  const sender = createSender({ db, secrets, transport: mails, metrics, logger })
  const keepAdmin = createLastAdmin(config.auth.roles)
  const eraseAccount = createAccountErasure({ audit, keepAdmin })
  const administration = createAdministration({
    db,
    accounts,
    audit,
    config,
    passwords,
    policy,
    keyring,
    outbox,
    keepAdmin,
    eraseAccount,
  })
  const clients = createClients({ db, accounts })
  const { sealSeconds, retentionDays } = config.auth.audit
  const sealer = createSealer({ db, secrets, audit, sealSeconds, metrics, logger })
  const removeOldAudit = createAuditRetention({ secrets, audit, retentionDays })
  const cleanup = createCleanup({ db, needsLock: database.kind === 'postgres', config: config.auth, removeOldAudit, metrics, logger })

  return {
    config,
    values,
    logger,
    clock,
    metrics,
    database,
    db,
    redis,
    secrets,
    keyring,
    revocations,
    accounts,
    passwords,
    policy,
    audit,
    sealer,
    outbox,
    eraseAccount,
    devices,
    sender,
    administration,
    importUsers: createImport({ db, accounts }),
    clients,
    cleanup,
    async close() {
      revocations.stop()
      passwords.close()
      mails.close()
      redis?.close()
      await database.close()
    },
  }
}

/** The database as this version needs it, with a signing key and the first admin. */
export async function prepare(core: Core, { adminMustChangePassword = true }: BuildOptions): Promise<void> {
  const { db, accounts, config, passwords, policy, logger, keyring } = core
  for (const name of await migrateUp(db)) logger.info({ migration: name }, 'migrated')
  await keyring.load()
  await resealFactors(core)
  const { adminEmail, adminPassword } = core.values
  if (!adminEmail || !adminPassword) return
  const admin = { email: adminEmail, password: adminPassword, mustChangePassword: adminMustChangePassword }
  await bootstrapAdmin(admin, { db, accounts, config, passwords, policy, logger })
}

/** What is done once, however many processes serve. */
export const jobsOf = ({ config, cleanup, sealer, db, sender, metrics }: Core): Job[] => [
  { name: 'cleanup', everySeconds: config.auth.cleanup.intervalSeconds, firstAfterSeconds: CLEANUP_AFTER_SECONDS, run: cleanup },
  { name: 'audit seal', everySeconds: config.auth.audit.sealSeconds, run: sealer.sealWhenDue },
  { name: 'retry erasure', everySeconds: 60, run: createRetryErasure(db, config.auth.refresh) },
  ...mailJobs(db, sender, metrics),
]

/** A gateway that is restarted more often than the interval cleans up, too. */
const CLEANUP_AFTER_SECONDS = 300
