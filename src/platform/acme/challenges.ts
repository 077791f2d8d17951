/**
 * The challenges that this process answers. They are read from the database every few seconds, and for a token that is not known: then at
 * most once a second, so that nobody can make the gateway ask more often.
 */
import type { Db } from '../db/database.ts'
import type { Clock } from '../lib/clock.ts'
import type { Secrets } from '../vault/secrets.ts'
import { findChallenges } from './acme.repo.ts'
import { challengeKeyAt, openOrNull } from './acme-keys.ts'

/** The process that publishes a challenge waits longer than this before the ACME server may ask: every later read finds it. */
export const READ_AGAIN_MS = 1000
const MAX_PENDING = 200

export interface Challenges {
  /** Of http-01. Null: no order waits for this token. A promise while the database is asked. */
  keyAuthorization(token: string): string | null | Promise<string | null>
  /** Certificates and keys of tls-alpn-01 by domain, PEM. As they were last read. */
  certificates(): ReadonlyMap<string, string>
  /** Reads them again. @throws when the database does not answer */
  read(): Promise<void>
}

export function createChallenges({ db, secrets, clock }: { db: Db; secrets: Secrets; clock: Clock }): Challenges {
  let answers = new Map<string, string>()
  let certificates = new Map<string, string>()
  let loading: Promise<void> | null = null
  let readAt = Number.NEGATIVE_INFINITY

  async function load(): Promise<void> {
    const rows = await findChallenges(db, new Date(clock.now()), MAX_PENDING)
    answers = new Map(rows.flatMap((row) => (row.kind === 'http-01' ? [[row.token, row.key_authorization]] : [])))
    certificates = new Map(
      rows.flatMap(({ token, domain, certificate_sealed: sealed }) => {
        const pem = sealed === null ? null : openOrNull(secrets, challengeKeyAt(token), sealed)
        return pem === null ? [] : [[domain, pem]]
      }),
    )
  }

  function read(): Promise<void> {
    readAt = clock.steady()
    loading ??= load().finally(() => {
      loading = null
    })
    return loading
  }

  return {
    keyAuthorization(token) {
      const known = answers.get(token)
      if (known !== undefined) return known
      if (loading === null && clock.steady() - readAt < READ_AGAIN_MS) return null
      return (loading ?? read()).then(
        () => answers.get(token) ?? null,
        () => null,
      )
    },
    certificates: () => certificates,
    read,
  }
}
