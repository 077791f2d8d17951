/** Builds the parts for users, sessions, tokens and their administration. */
import { createAccountErasure, type EraseAccount } from '../identity/accounts/account-erasure.ts'
import { createDevices, type Devices } from '../identity/accounts/devices.ts'
import { type Administration, createAdministration } from '../identity/admin/administration.service.ts'
import { bootstrapAdmin } from '../identity/admin/bootstrap.service.ts'
import { createImport, type ImportUsers } from '../identity/admin/import.service.ts'
import { createLockForAction } from '../identity/admin/lock-for-action.ts'
import type { Hasher } from '../identity/credentials/hasher.ts'
import { createPasswordPolicy, type PasswordPolicy } from '../identity/credentials/password-policy.ts'
import { createPasswords, type HashPermit, type Passwords } from '../identity/credentials/passwords.ts'
import { resealFactors } from '../identity/factors/reseal-factors.ts'
import { createIssuerKeys, type IssuerKeys } from '../identity/issuers/issuer-keys.ts'
import { type Clients, createClients } from '../identity/oauth/clients.service.ts'
import { createProviders, type Providers } from '../identity/providers/providers.ts'
import { type Accounts, createAccounts } from '../identity/sessions/account-transaction.ts'
import { createEndAgain } from '../identity/sessions/end-again.ts'
import { createRevocations, type Revocations, type Siblings } from '../identity/sessions/revocations.ts'
import { createKeyring, type Keyring } from '../identity/tokens/keyring.ts'
import { createLastAdmin, type KeepAdmin } from '../identity/users/last-admin.ts'
import { resealAcmeKeys } from '../platform/acme/acme-keys.ts'
import type { Secrets as SecretValues } from '../platform/config/schema.ts'
import { migrateUp } from '../platform/db/migrate.ts'
import { type MigrationEvent, textOfEvent } from '../platform/db/migration-events.ts'
import type { Job } from '../platform/jobs/schedule.ts'
import type { Logger } from '../platform/telemetry/logger.ts'
import { type CleanupResult, createCleanup, createRetryErasure } from './cleanup.ts'
import type { Platform } from './platform.ts'

export interface IdentityOptions {
  /** Revocations go to these processes in addition to Redis. */
  siblings?: Siblings | undefined
  /** Computes password hashes. Default: a separate process. */
  hasher?: Hasher | undefined
  /** Set when other processes may have to finish a hash first. */
  hashPermit?: HashPermit | undefined
}

export interface Identity {
  keyring: Keyring
  revocations: Revocations
  accounts: Accounts
  passwords: Passwords
  policy: PasswordPolicy
  keepAdmin: KeepAdmin
  devices: Devices
  /** That users sign in with. */
  providers: Providers
  /** Of other issuers. */
  issuerKeys: IssuerKeys
  eraseAccount: EraseAccount
  administration: Administration
  clients: Clients
  importUsers: ImportUsers
  /** @returns null when another replica is cleaning up */
  cleanup(): Promise<CleanupResult | null>
  /** Migrates the database, and creates a signing key and the first admin of the environment where they are missing. */
  prepare(admin: FirstAdmin): Promise<void>
  /** To run in one process of the gateway only. */
  jobs: Job[]
  close(): void
}

export interface FirstAdmin extends Pick<SecretValues, 'adminEmail' | 'adminPassword'> {
  /** The demo's admin may keep the generated password. Default: true. */
  mustChangePassword?: boolean | undefined
}

export async function createIdentity(platform: Platform, { siblings, hasher, hashPermit }: IdentityOptions = {}): Promise<Identity> {
  const { config, logger, clock, metrics, database, db, redis, secrets, audit, removeOldAudit } = platform
  const keyring = createKeyring({ db, secrets, tokens: config.tokens, logger, now: () => clock.now() })
  const broadcasts = [siblings, redis?.broadcast].filter((broadcast) => broadcast !== undefined)
  const revocations = createRevocations({ db, polled: database.polling, clock, logger, broadcasts, siblings, onKeyRevoked: keyring.forget })
  database.onPrimaryChange(() => void revocations.writeBack().catch(() => {}))
  const accounts = createAccounts({ db, audit, revocations, metrics, tokens: config.tokens })
  const endAgain = createEndAgain({ db, accounts, logger })
  revocations.onWrittenBack((remembered) => void endAgain(remembered))
  const passwords = await createPasswords(config.auth.password, metrics, hasher, hashPermit)
  const cleanup = createCleanup({ db, needsLock: database.kind === 'postgres', config: config.auth, removeOldAudit, metrics, logger })
  const issuerKeys = createIssuerKeys({ clock, logger, metrics })
  const rules = createRules(platform, { keyring, accounts, passwords })
  const providers = createProviders({ auth: config.auth, secrets: platform.providerSecrets, clock })

  return {
    keyring,
    revocations,
    accounts,
    passwords,
    providers,
    issuerKeys,
    ...rules,
    cleanup,
    async prepare({ adminEmail, adminPassword, mustChangePassword = true }) {
      await migrateUp(database, { report: (event) => logMigration(logger, event) })
      await keyring.load()
      await resealFactors({ db, secrets, logger })
      await resealAcmeKeys({ db, secrets, logger })
      if (!adminEmail || !adminPassword) return
      const admin = { email: adminEmail, password: adminPassword, mustChangePassword }
      await bootstrapAdmin(admin, { db, accounts, config, passwords, policy: rules.policy, logger })
    },
    jobs: [
      { name: 'cleanup', everySeconds: config.auth.cleanup.intervalSeconds, firstAfterSeconds: CLEANUP_AFTER_SECONDS, run: cleanup },
      { name: 'retry erasure', everySeconds: 60, run: createRetryErasure(db, config.auth.refresh) },
    ],
    close() {
      revocations.stop()
      issuerKeys.close()
      passwords.close()
    },
  }
}

type Rules = Pick<Identity, 'policy' | 'keepAdmin' | 'devices' | 'eraseAccount' | 'administration' | 'clients' | 'importUsers'>

/** What follows from the configuration, and has no state of its own. */
function createRules(platform: Platform, { keyring, accounts, passwords }: Pick<Identity, 'keyring' | 'accounts' | 'passwords'>): Rules {
  const { config, logger, clock, metrics, database, db, secrets, audit, outbox } = platform
  const policy = createPasswordPolicy(config, metrics, logger)
  const keepAdmin = createLastAdmin(config.auth.roles)
  const eraseAccount = createAccountErasure({ audit, keepAdmin, tokens: config.tokens })
  const lockForAction = createLockForAction({ clock, admin: config.auth.admin })
  return {
    policy,
    keepAdmin,
    devices: createDevices({ db, outbox }),
    eraseAccount,
    administration: createAdministration({
      db,
      read: database.read,
      accounts,
      config,
      passwords,
      policy,
      keyring,
      outbox,
      keepAdmin,
      eraseAccount,
      lockForAction,
    }),
    clients: createClients({ db, accounts, lockForAction }),
    importUsers: createImport({ db, accounts, secrets, config }),
  }
}

/** The same users, sessions and keys, under the rules of another configuration. @param platform made by `withConfig` */
export const underConfig = (identity: Identity, platform: Platform): Identity => ({ ...identity, ...createRules(platform, identity) })

function logMigration(logger: Logger, event: MigrationEvent): void {
  if (event.kind === 'applied') logger.info({ migration: event.step, seconds: event.seconds }, 'migrated')
  else if (event.kind === 'note') logger.warn({ reason: 'migration_note', migration: event.step, cause: event.text }, 'read this')
  else if (event.kind === 'blocked')
    logger.warn({ reason: 'migration_blocked', migration: event.step, cause: textOfEvent(event) }, 'a migration waits')
  else if (event.kind === 'newer') logger.warn({ reason: 'schema_newer', cause: textOfEvent(event) }, 'the database has a newer schema')
  else logger.info({ reason: 'migrating', cause: textOfEvent(event) }, 'a migration takes long')
}

/** Short, so that a gateway with frequent restarts also cleans up. */
const CLEANUP_AFTER_SECONDS = 300
