/** The second step of a login: a code or a passkey, with the token from the first step. */
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Outbox } from '../../platform/mail/outbox.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import { notifyOfBackupCode } from '../factors/backup-code-notice.ts'
import { type CodeAttempts, wrongCode } from '../factors/code-attempts.ts'
import { type CheckedPasskey, type PasskeyCheck, recordRefusal, type SignedAnswer } from '../factors/passkey-check.ts'
import { amrOf, type SecondFactor, type Shown } from '../factors/second-factor.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { withFactor } from '../tokens/amr.ts'
import type { MfaTokens, ProvenMfaToken } from '../tokens/mfa-tokens.ts'
import { markUsed } from '../tokens/used-tokens.repo.ts'
import { findUserById, lockUser, type User } from '../users/users.repo.ts'
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
  passkeyCheck: PasskeyCheck
  limits: Pick<CredentialLimits, 'passkey'>
  devices: Devices
  loginCompletion: LoginCompletion
  outbox: Outbox
}

export type LoginMfaInput = SessionChoice & { mfa_token: string; device_token?: string } & ({ code: string } | { passkey: SignedAnswer })

export function createLoginMfa(deps: LoginMfaDeps) {
  const { db, accounts, mfaTokens, limitInvalidTokens, factor, codeAttempts, devices, loginCompletion, outbox, limits, passkeyCheck } = deps

  async function finish(input: LoginMfaInput, context: RequestContext) {
    const claims = await limitInvalidTokens.check(context.client, () => mfaTokens.verify(input.mfa_token))
    const user = await findUserById(db, claims.userId)
    if (!user) throw problem('mfa_token_invalid', { cause: 'the user was deleted' })
    return recordRefusal(accounts, 'login', user.id, context, () => finishFor(user, claims, input, context))
  }

  const checkPasskey = async (userId: string, answer: SignedAnswer) =>
    passkeyCheck.check({ for: 'factor', userId }, answer, await passkeyCheck.find(answer))

  async function finishFor(user: User, claims: ProvenMfaToken, input: LoginMfaInput, context: RequestContext) {
    const presented = input.device_token === undefined ? null : await devices.find(input.device_token)
    const known = await devices.recognise(user, presented, context.ip)
    const device = { token: input.device_token, device: presented }
    const signed = 'passkey' in input && (await limits.passkey(context.client, () => checkPasskey(user.id, input.passkey)))
    const use = (trx: Transaction, now: Date): Promise<Shown | null> =>
      'code' in input ? factor.use(trx, user.id, input.code, now) : passkeyCheck.use(trx, signed as CheckedPasskey, now)

    const enter = () =>
      accounts.transaction('login', context, async (tx) => {
        const { trx } = tx
        const locked = await lockUser(trx, user.id)
        if (!locked || locked.disabled_at || locked.session_epoch !== claims.sessionEpoch)
          throw problem('mfa_token_invalid', { cause: 'the account changed since the password was checked' })
        if (!(await markUsed(trx, 'mfa', claims.jti, claims.expiresAt)))
          throw problem('mfa_token_invalid', { cause: 'the token was used before' })
        const now = await databaseNow(trx)
        const shown = await use(trx, now)
        if (!shown) throw wrongCode()
        await notifyOfBackupCode(trx, outbox, { user: locked, shown, now, context })
        const entry = { amr: withFactor(claims.amr, amrOf(shown)), device, wish: wishOf(input), detail: shown.type }
        const entered = await loginCompletion.enter(tx, locked, entry, context)
        if ('held' in entered) return { shown, entered }
        if (claims.providerLogin !== undefined && !(await giveSession(trx, claims.providerLogin, entered.session.id)))
          throw problem('mfa_token_invalid', { cause: 'the login of the provider was removed meanwhile' })
        return { shown, entered }
      })
    const attempt = { user, known, event: 'login', context }
    const { entered } = 'code' in input ? await codeAttempts.count(attempt, enter) : await codeAttempts.uncounted(enter)
    if ('held' in entered) throw await loginCompletion.refusal(entered, known ? 'owner' : 'stranger', context)
    return loginCompletion.answer(entered)
  }

  return accounts.counted('login', finish)
}
