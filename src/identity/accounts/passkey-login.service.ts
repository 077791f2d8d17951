/** The login with a passkey. It names no user beforehand, so it shows nobody who has an account. */
import { type Db, databaseNow } from '../../platform/db/database.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { InvalidTokenLimit } from '../access/invalid-token-limit.ts'
import type { Principal } from '../access/principal.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import { type Ceremonies, passkeyRefused, type RelyingParty } from '../factors/passkey-ceremonies.ts'
import { type PasskeyCheck, recordRefusal, type SignedAnswer } from '../factors/passkey-check.ts'
import { findPasskeysOf } from '../factors/passkeys.repo.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { type SessionChoice, wishOf } from '../sessions/cookie-values.ts'
import { withFactor } from '../tokens/amr.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'
import { lockUser, type User } from '../users/users.repo.ts'
import type { Entered, Held, LoginCompletion } from './complete-login.ts'
import type { Devices } from './devices.ts'
import type { LoginConfirmation } from './login-confirmation.service.ts'

export interface PasskeyLoginDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
  devices: Devices
  loginCompletion: LoginCompletion
  loginConfirmation: LoginConfirmation
  mfaTokens: MfaTokens
  limitInvalidTokens: InvalidTokenLimit
  relyingParty: RelyingParty
  ceremonies: Ceremonies
  passkeyCheck: PasskeyCheck
}

export interface PasskeyLoginInput extends SessionChoice, SignedAnswer {
  device_token?: string
}

export function createPasskeyLogin(deps: PasskeyLoginDeps) {
  const { db, accounts, limits, devices, loginCompletion, loginConfirmation, mfaTokens, limitInvalidTokens } = deps
  const { relyingParty, ceremonies, passkeyCheck } = deps

  const usable = async (userId: string) => {
    const passkeys = (await findPasskeysOf(db, userId)).filter(({ rp_id }) => rp_id === relyingParty.id)
    // an empty list would let the user choose among all passkeys
    if (passkeys.length === 0) throw passkeyRefused('the user has no passkey')
    return passkeys
  }

  /** For a login that begins with the passkey. */
  const optionsForLogin = () => ceremonies.request({ for: 'login' }, null)

  /** For the second step of a login. @throws mfa_token_invalid, passkey_refused, rate_limited */
  async function optionsForFactor(mfaToken: string, { client }: RequestContext) {
    const { userId } = await limitInvalidTokens.check(client, () => mfaTokens.verify(mfaToken))
    return ceremonies.request({ for: 'factor', userId }, await usable(userId))
  }

  /** For a user who proves again who they are. @throws passkey_refused */
  const optionsAgain = async ({ id, sessionId }: Principal) => ceremonies.request({ for: 'reauthenticate', sessionId }, await usable(id))

  const login = (input: PasskeyLoginInput, context: RequestContext) =>
    limits.passkey(context.client, async () => {
      const found = await passkeyCheck.find(input)
      const { user } = found
      return recordRefusal(accounts, 'login', user.id, context, async () => {
        const checked = await passkeyCheck.check({ for: 'login' }, input, found)
        const presented = input.device_token === undefined ? null : await devices.find(input.device_token)
        const isKnown = (await devices.recognise(user, presented, context.ip)) !== null
        const entered = await accounts.transaction('login', context, async (tx): Promise<Entered | Held | User> => {
          const locked = await lockUser(tx.trx, user.id)
          if (!locked || locked.disabled_at) throw passkeyRefused('the user is disabled, or was deleted')
          // a gateway of a version before passkeys has removed the factors of the user, and left this one
          if (!locked.mfa_enabled) throw passkeyRefused('the factors of the user were removed')
          const shown = await passkeyCheck.use(tx.trx, checked, await databaseNow(tx.trx))
          if (locked.must_confirm_login) return locked
          const device = { token: input.device_token, device: presented }
          const entry = { amr: withFactor([], shown.amr), device, wish: wishOf(input), detail: 'passkey' }
          return loginCompletion.enter(tx, locked, entry, context)
        })
        if ('held' in entered) throw await loginCompletion.refusal(entered, isKnown ? 'owner' : 'stranger', context)
        if (!('session' in entered)) throw await loginConfirmation.request(entered, isKnown ? 'owner' : 'stranger', context)
        return loginCompletion.answer(entered)
      })
    })

  return { optionsForLogin, optionsForFactor, optionsAgain, login: accounts.counted('login', login) }
}

export type PasskeyLogin = ReturnType<typeof createPasskeyLogin>
