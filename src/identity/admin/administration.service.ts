/** The queries and actions of operators, for the endpoints and the commands. Each action is one transaction with its audit row. */

import type { Config } from '../../platform/config/schema.ts'
import type { Db, ReadReplica } from '../../platform/db/database.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { EraseAccount } from '../accounts/account-erasure.ts'
import type { PasswordPolicy } from '../credentials/password-policy.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import type { Keyring } from '../tokens/keyring.ts'
import { createMetadataClaims } from '../tokens/metadata-claims.ts'
import type { KeepAdmin } from '../users/last-admin.ts'
import { createRoles, knownRoles } from '../users/roles.ts'
import { createAuditedAction } from './audited-action.ts'
import { createChangeUser } from './change-user.ts'
import { createUserCreation } from './create-user.ts'
import { createExternalBlockActions } from './external-block-actions.ts'
import { createInvitationActions } from './invitation-actions.ts'
import { createKeyActions } from './key-actions.ts'
import type { LockForAction } from './lock-for-action.ts'
import { createMetadataActions } from './metadata-actions.ts'
import { createAssertKnownRole, createAssertRolesFit, createRoleActions } from './role-actions.ts'
import { createSessionActions } from './session-actions.ts'
import { createUserActions } from './user-actions.ts'
import { createFindUser, createUserQueries } from './user-queries.ts'

export interface AdministrationDeps {
  db: Db
  read: ReadReplica
  accounts: Accounts
  config: Config
  passwords: Passwords
  policy: PasswordPolicy
  keyring: Keyring
  outbox: Outbox
  keepAdmin: KeepAdmin
  eraseAccount: EraseAccount
  lockForAction: LockForAction
}

export interface Administration extends ReturnType<typeof createAdministration> {}

export function createAdministration(deps: AdministrationDeps) {
  const { db, read, accounts, config, passwords, policy, keyring, outbox, keepAdmin, eraseAccount, lockForAction } = deps
  const audited = createAuditedAction(accounts)
  const find = createFindUser(db)
  const changeUser = createChangeUser({ accounts, audited, find, lockForAction })
  const grantsOf = createRoles(config.auth.roles)
  const assertFits = createAssertRolesFit(grantsOf)
  const assertKnownRole = createAssertKnownRole(knownRoles(config.auth.roles))
  return {
    ...createUserQueries({ db, read, find, config }),
    create: createUserCreation({ db, accounts, audited, passwords, policy, auth: config.auth, assertKnownRole, assertFits, lockForAction }),
    ...createRoleActions({ update: changeUser.update, keepAdmin, assertKnownRole, assertFits }),
    ...createUserActions({ changeUser, outbox, keepAdmin, eraseAccount }),
    ...createSessionActions(changeUser.update),
    ...createMetadataActions({ update: changeUser.update, metadataClaims: createMetadataClaims(config.tokens.claims), grantsOf }),
    ...createInvitationActions({ db, accounts, audited, outbox, config, assertKnownRole, assertFits, lockForAction }),
    ...createExternalBlockActions({ db, accounts, audited, lockForAction, config }),
    ...createKeyActions({ accounts, audited, keyring, lockForAction }),
  }
}
