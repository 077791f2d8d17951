/** The second step of a login: the code, with the token from the first step. */
import { type Db, databaseNow } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import { notifyOfBackupCode } from '../factors/backup-code-notice.ts'
import { type CodeAttempts, wrongCode } from '../factors/code-attempts.ts'
import { PROVIDER_AND_FACTOR, type SecondFactor, WITH_FACTOR } from '../factors/second-factor.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'
import { markUsed } from '../tokens/used-tokens.repo.ts'
import { findUserById, lockUser } from '../users/users.repo.ts'
import type { LoginCompletion } from './complete-login.ts'
import type { Devices } from './devices.ts'
import { giveSession } from './linked-logins.repo.ts'

export interface LoginMfaDeps {
  db: Db
  accounts: Accounts
  mfaTokens: MfaTokens
  limitInvalidTokens: InvalidTokenLimit
  factor: SecondFactor
  codeAttempts: CodeAttempts
  devices: Devices
  loginCompletion: LoginCompletion
  outbox: Outbox
}

export interface LoginMfaInput extends SessionChoice {
  mfa_token: string
  code: string
  device_token?: string
}

export function createLoginMfa(deps: LoginMfaDeps) {
  const { db, accounts, mfaTokens, limitInvalidTokens, factor, codeAttempts, devices, loginCompletion, outbox } = deps

  async function finish(input: LoginMfaInput, context: RequestContext) {
    const claims = await limitInvalidTokens.check(context.client, () => mfaTokens.verify(input.mfa_token))
    const user = await findUserById(db, claims.userId)
    if (!user) throw problem('mfa_token_invalid', { cause: 'the user was deleted' })
    const presented = input.device_token === undefined ? null : await devices.find(input.device_token)
    const known = await devices.recognise(user, presented, context.ip)
    const device = { token: input.device_token, device: presented }

    const { entered } = await codeAttempts.count({ user, known, event: 'login', context }, () =>
      accounts.transaction('login', context, async (tx) => {
        const { trx } = tx
        const locked = await lockUser(trx, user.id)
        if (!locked || locked.disabled_at || locked.session_epoch !== claims.sessionEpoch)
          throw problem('mfa_token_invalid', { cause: 'the account changed since the password was checked' })
        if (!(await markUsed(trx, 'mfa', claims.jti, claims.expiresAt)))
          throw problem('mfa_token_invalid', { cause: 'the token was used before' })
        const now = await databaseNow(trx)
        const shown = await factor.use(trx, user.id, input.code, now)
        if (!shown) throw wrongCode()
        await notifyOfBackupCode(trx, outbox, { user: locked, shown, now, context })
        const amr = claims.providerLogin === undefined ? WITH_FACTOR : PROVIDER_AND_FACTOR
        const entry = { amr, device, wish: wishOf(input), detail: shown.type }
        const entered = await loginCompletion.enter(tx, locked, entry, context)
        if (claims.providerLogin !== undefined && !(await giveSession(trx, claims.providerLogin, entered.session.id)))
          throw problem('mfa_token_invalid', { cause: 'the login of the provider was removed meanwhile' })
        return { shown, entered }
      }),
    )
    return loginCompletion.answer(entered)
  }

  return accounts.counted('login', finish)
}
