/**
 * Secrets that one page shows after a redirect: a new API key, backup codes, the secret of an authenticator app. The answer to the form is a
 * redirect, so that a reload sends no form twice. Until the next page, the browser keeps the secret in a cookie that only we can open. It is
 * bound to the session, and it is sent to the account pages alone.
 */
import type { Clock } from '../../../platform/lib/clock.ts'
import { type Secrets, UnreadableSecret } from '../../../platform/vault/secrets.ts'
import type { CrossSite } from '../../access/cross-site.ts'
import type { SecretKind } from '../../access/page-cookie-names.ts'
import { createPageCookies } from '../page-cookies.ts'
import type { AccountPage } from './account-frame.ts'

export interface ShownOnce {
  /** Keeps the secret for the next pages. */
  keep(page: AccountPage, kind: SecretKind, secret: string): void
  /** @returns null when there is none, or when it is too old or of another session */
  read(page: AccountPage, kind: SecretKind): string | null
  /** The same, and drops the secret: a reload of the page does not show it again. */
  take(page: AccountPage, kind: SecretKind): string | null
  drop(page: AccountPage, kind: SecretKind): void
}

/** An enrolment must be confirmed within this time. The others wait for a redirect only. */
const TTL_SECONDS: Record<SecretKind, number> = { 'api-key': 60, 'backup-codes': 60, enrolment: 15 * 60 }

export interface ShownOnceDeps {
  /** The path of the account pages. */
  path: string
  secrets: Pick<Secrets, 'seal' | 'open'>
  crossSite: Pick<CrossSite, 'isSecure'>
  clock: Clock
}

export function createShownOnce({ path, secrets, crossSite, clock }: ShownOnceDeps): ShownOnce {
  const cookies = createPageCookies<SecretKind>(crossSite, path)
  const placeOf = ({ principal }: AccountPage, kind: SecretKind) => ({
    table: 'pages',
    column: kind,
    row: principal.sessionId,
    owner: principal.id,
  })

  function open(page: AccountPage, kind: SecretKind, value: string): string | null {
    try {
      const { secret, until } = JSON.parse(secrets.open(placeOf(page, kind), value).toString()) as { secret: string; until: number }
      return until > clock.now() ? secret : null
    } catch (error) {
      if (error instanceof UnreadableSecret) return null
      throw error
    }
  }

  function read(page: AccountPage, kind: SecretKind): string | null {
    for (const value of cookies.readAll(page, kind)) {
      const secret = open(page, kind, value)
      if (secret !== null) return secret
    }
    return null
  }

  return {
    keep(page, kind, secret) {
      const until = clock.now() + TTL_SECONDS[kind] * 1000
      cookies.set(page, kind, secrets.seal(placeOf(page, kind), Buffer.from(JSON.stringify({ secret, until }))), TTL_SECONDS[kind])
    },
    read,
    take(page, kind) {
      const secret = read(page, kind)
      if (secret !== null) cookies.clear(page, kind)
      return secret
    },
    drop: cookies.clear,
  }
}
