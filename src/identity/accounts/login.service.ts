/** Find the user, check the password with equal work for everybody, ask for the second factor where there is one, open the session. */

import type { Audit, AuditContext } from '../../platform/audit/audit.ts'
import { type Db, inTransaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import { countOutcome } from '../../platform/telemetry/count-outcome.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Lane, Passwords } from '../credentials/passwords.ts'
import type { MfaTokens } from '../tokens/mfa-tokens.ts'
import { canonicalLogin } from '../users/canonical-login.ts'
import { findUserByLogin, lockUser, replaceHash, type User } from '../users/users.repo.ts'
import type { LoginCompletion } from './complete-login.ts'
import type { Device } from './devices.repo.ts'
import type { Devices } from './devices.ts'

export interface LoginDeps {
  db: Db
  audit: Audit
  passwords: Passwords
  limits: CredentialLimits
  devices: Devices
  loginCompletion: LoginCompletion
  mfaTokens: MfaTokens
  metrics: Metrics
}

export interface LoginInput {
  login: string
  password: string
  device_token?: string
}

/** Where nobody is called so, as much is looked up for this one. */
const NOBODY = { id: '00000000-0000-0000-0000-000000000000' }

export function createLogin({ db, audit, passwords, limits, devices, loginCompletion, mfaTokens, metrics }: LoginDeps) {
  async function login(input: LoginInput, context: RequestContext) {
    const presented = input.device_token === undefined ? null : await devices.find(input.device_token)
    passwords.assertRoom(presented ? 'known' : 'stranger')
    const name = canonicalLogin(input.login)
    // who has registered and not proven the address is nobody yet: anybody may register any address, and must not learn by that whose it is.
    // Postgres holds no NUL, so nobody is called that
    const user = name.includes('\0') ? null : ((await findUserByLogin(db, name)) ?? null)
    const known = await devices.recognise(user ?? NOBODY, presented, context.ip)
    const device = { token: input.device_token, device: presented }
    return limits.login(context.client, user ?? { unknown: name }, known, () =>
      enter(user, input.password, known ? 'known' : 'stranger', device, context),
    )
  }

  async function enter(
    user: User | null,
    password: string,
    lane: Lane,
    device: { token: string | undefined; device: Device | null },
    context: AuditContext,
  ) {
    // the same hash is computed for a user who does not exist
    const matches = await passwords.verify(user?.password_hash ?? null, password, lane)
    if (!user || !matches || user.disabled_at) {
      throw await refusal(user, !user ? 'unknown user' : matches ? 'disabled user' : 'wrong password', context)
    }
    const rehashed = passwords.needsRehash(user.password_hash) ? await passwords.hash(password) : null

    const entered = await inTransaction(db, async (trx) => {
      const locked = await lockUser(trx, user.id)
      // the password was checked without a lock: what it was checked against must still hold
      const isSame =
        locked && locked.password_hash === user.password_hash && locked.session_epoch === user.session_epoch && !locked.disabled_at
      if (!isSame) return 'changed'
      if (rehashed) await replaceHash(trx, user.id, user.password_hash, rehashed)
      if (!locked.mfa_enabled) return loginCompletion.enter(trx, locked, { amr: ['pwd'], device, event: 'login', context })
      await audit.record(trx, { event: 'login', outcome: 'mfa_required', userId: user.id, context })
      return null
    })
    if (entered === 'changed') throw await refusal(user, 'the account changed while the password was checked', context)
    if (entered) return loginCompletion.answer(entered)
    const mfa_token = await mfaTokens.issue({ userId: user.id, sessionEpoch: user.session_epoch })
    return { mfa_required: true as const, mfa_token, methods: ['totp', 'backup_code'] }
  }

  /** Why, for the log and the audit log alone. */
  async function refusal(user: User | null, cause: string, context: AuditContext) {
    const outcome = 'invalid_credentials'
    await inTransaction(db, (trx) => audit.record(trx, { event: 'login', outcome, userId: user?.id ?? null, detail: cause, context }))
    return problem(outcome, { cause })
  }

  const outcomeOf = (answer: Awaited<ReturnType<typeof login>>) => ('mfa_required' in answer ? 'mfa_required' : 'success')
  return countOutcome((outcome) => metrics.logins.inc({ outcome }), login, outcomeOf)
}
