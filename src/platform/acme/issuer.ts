/**
 * Orders the certificate when it is due: the first, before the end of the present one, and when the names have changed. One process of all
 * gateways orders at a time. The state of failed orders is shared as well, so that more gateways do not try more often.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Audit } from '../audit/audit.ts'
import { COMMAND_LINE } from '../audit/audit.ts'
import { type Db, inTransaction, isDatabaseAway, withAdvisoryLock } from '../db/database.ts'
import type { Job } from '../jobs/schedule.ts'
import type { Clock } from '../lib/clock.ts'
import { causeText } from '../lib/errors.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Secrets } from '../vault/secrets.ts'
import {
  type CertificateId,
  deleteCertificatesExpiredBefore,
  deleteChallenges,
  findAccountKey,
  findCertificate,
  findOrderStates,
  insertChallenges,
  type OrderState,
  saveAccountKey,
  saveCertificate,
  saveFailure,
} from './acme.repo.ts'
import { type AcmeAccess, AcmeFailure } from './acme-client.ts'
import { accountKeyAt, certificateKeyAt, challengeKeyAt, openOrNull } from './acme-keys.ts'
import { type AcmeSettings, certificateIdOf, directoryOf, domainsOf } from './acme-settings.ts'
import { READ_AGAIN_MS } from './challenges.ts'
import { newKey, type OpenChallenge, type Ordered, orderCertificate } from './order.ts'
import { renewAt, retryAfter, type Validity } from './renewal.ts'
import { readOrdered } from './usable-certificate.ts'

const LOCK = 7610006
const CHALLENGE_MS = 3_600_000
/** Slack for a process that is busy when it should read. */
const SLACK_MS = 1000
/** Certificates of names from before are kept this long after their end. */
const KEPT_MS = 30 * 86_400_000

export interface IssuerDeps {
  db: Db
  /** False on the embedded database: it has one connection, and no other process. */
  needsLock: boolean
  secrets: Secrets
  /** Of `eab`. */
  hmacKey: string | null
  audit: Audit
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** In force. Null: no ACME. */
  settings(): AcmeSettings | null
  /** Every process reads challenges for tls-alpn-01 this often. */
  readEverySeconds(): number
  /** False until the listeners can answer a challenge. */
  isServing(): boolean
  /** From 0 to 1. Default: Math.random. */
  random?: () => number
}

export interface Issuer {
  job: Job
  /** The next run does not wait for the time after a failed order, unless the ACME server has asked for it. */
  hurry(): void
}

interface Issued extends Ordered, Validity {
  id: CertificateId
  issuedAt: Date
}

export function createIssuer(deps: IssuerDeps): Issuer {
  const {
    db,
    needsLock,
    secrets,
    hmacKey,
    audit,
    clock,
    logger,
    metrics,
    settings,
    readEverySeconds,
    isServing,
    random = Math.random,
  } = deps
  const stopping = new AbortController()
  /** The database went away after the order. */
  let unsaved: Issued | null = null
  let wantedSince: number | null = null
  let isHurried = false
  let lastCause = ''
  /** Orders in a row that ended because the database went away. The database could not remember them. */
  let lost = 0
  let waitUntil = 0

  async function run(): Promise<void> {
    const acme = settings()
    if (acme === null || !isServing()) return
    wantedSince ??= clock.now()
    try {
      if (unsaved) await save(unsaved)
      if (clock.now() < waitUntil) return
      if (!(await isDue(acme))) return
      await (needsLock ? withAdvisoryLock(db, LOCK, () => orderWhenDue(acme)) : orderWhenDue(acme))
    } catch (error) {
      if (stopping.signal.aborted) return
      // the database has alerts of its own, and the certificate in use stays
      if (!isDatabaseAway(error)) throw error
    } finally {
      isHurried = false
    }
  }

  async function isDue(acme: AcmeSettings): Promise<boolean> {
    const { names } = certificateIdOf(acme)
    const state = (await findOrderStates(db, directoryOf(acme))).find((row) => row.names === names)
    const dueAt = await dueOf(acme, state)
    metrics.acmeLastSuccess.set((state?.issued_at?.getTime() ?? 0) / 1000)
    metrics.acmeRenewalDue.set(dueAt / 1000)
    const now = clock.now()
    return dueAt <= now && (mayHurry(state) || (state?.retry_at?.getTime() ?? 0) <= now)
  }

  const mayHurry = (state: OrderState | undefined) => isHurried && state?.last_outcome !== 'rate_limited'

  /** Milliseconds since the epoch. */
  async function dueOf(acme: AcmeSettings, state: OrderState | undefined): Promise<number> {
    if (!state?.not_before || !state.not_after) return wantedSince!
    if (!(await isReadable(certificateIdOf(acme), state.issued_at!))) return wantedSince!
    return renewAt({ notBefore: state.not_before, notAfter: state.not_after }, acme.renewBeforeDays, String(state.issued_at?.getTime()))
  }

  /** The certificate that was last found readable: nothing changes it without changing this. */
  let readable = 0

  async function isReadable(id: CertificateId, issuedAt: Date): Promise<boolean> {
    if (readable === issuedAt.getTime()) return true
    const row = await findCertificate(db, id)
    const isOurs = row !== null && openOrNull(secrets, certificateKeyAt(id), row.key_sealed) !== null
    if (isOurs) readable = issuedAt.getTime()
    return isOurs
  }

  /** Another process may have ordered since. */
  async function orderWhenDue(acme: AcmeSettings): Promise<void> {
    if (!(await isDue(acme))) return
    const id = certificateIdOf(acme)
    const state = (await findOrderStates(db, id.directory_url)).find(({ names }) => names === id.names)
    const failures = state?.failures ?? 0
    try {
      const domains = domainsOf(acme)
      const ordered = await order(acme, domains, failures)
      const issuedAt = new Date(clock.now())
      unsaved = { id, ...ordered, ...readOrdered(ordered, domains, issuedAt.getTime()), issuedAt }
      await save(unsaved)
    } catch (error) {
      if (stopping.signal.aborted) throw error
      // the ACME server counts the order, also when the database cannot remember it
      waitUntil = clock.now() + retryAfter('refused', ++lost, 0, random())
      if (isDatabaseAway(error)) throw error
      await fail(id, failures + 1, error)
      orderIsStored()
    }
  }

  async function order(acme: AcmeSettings, domains: string[], failures: number): Promise<Ordered> {
    const access: AcmeAccess = {
      directoryUrl: directoryOf(acme),
      accountKey: await accountKey(directoryOf(acme)),
      eab: acme.eab && hmacKey !== null ? { kid: acme.eab.keyId, hmacKey } : null,
      ca: acme.ca,
      clock,
    }
    const published: string[] = []
    try {
      return await orderCertificate({
        access,
        domains,
        email: acme.email,
        kinds: turned(acme.challenges, failures),
        async publish(challenges) {
          published.push(...challenges.map(({ token }) => token))
          await insertChallenges(db, challenges.map(toRow))
          const readsByTime = challenges.some(({ kind }) => kind === 'tls-alpn-01')
          await untilAllAnswer(readsByTime ? readEverySeconds() * 1000 : READ_AGAIN_MS)
        },
        signal: stopping.signal,
      })
    } finally {
      if (published.length) await deleteChallenges(db, published, new Date(clock.now())).catch(() => undefined)
    }
  }

  const toRow = ({ certificate, ...challenge }: OpenChallenge) => ({
    ...challenge,
    certificate_sealed: certificate === null ? null : secrets.seal(challengeKeyAt(challenge.token), Buffer.from(certificate)),
    expires_at: new Date(clock.now() + CHALLENGE_MS),
  })

  /** By the real time: the other processes read by theirs. */
  const untilAllAnswer = (ms: number) => pause(ms + SLACK_MS, undefined, { signal: stopping.signal, ref: false })

  /** The ACME server knows the account by this key. A key that cannot be opened is replaced: the server then makes another account. */
  async function accountKey(directoryUrl: string): Promise<string> {
    const row = await findAccountKey(db, directoryUrl)
    const known = row ? openOrNull(secrets, accountKeyAt(directoryUrl), row.key_sealed) : null
    if (known !== null) return known
    const key = newKey()
    await saveAccountKey(db, directoryUrl, secrets.seal(accountKeyAt(directoryUrl), Buffer.from(key)), new Date(clock.now()))
    return key
  }

  function orderIsStored(): void {
    lost = 0
    waitUntil = 0
  }

  async function save(issued: Issued): Promise<void> {
    const { id, chain, key, notBefore, notAfter, issuedAt } = issued
    const key_sealed = secrets.seal(certificateKeyAt(id), Buffer.from(key))
    const { host } = new URL(id.directory_url)
    await inTransaction(db, async (trx) => {
      await saveCertificate(trx, { ...id, chain, key_sealed, not_before: notBefore, not_after: notAfter, issued_at: issuedAt })
      await deleteCertificatesExpiredBefore(trx, new Date(clock.now() - KEPT_MS))
      const detail = `${id.names.replaceAll(',', ', ')} by ${host}, until ${notAfter.toISOString()}`
      await audit.record(trx, { event: 'certificate_issue', outcome: 'success', actor: 'gateway', detail, context: COMMAND_LINE })
    })
    unsaved = null
    orderIsStored()
    lastCause = ''
    metrics.acmeOrders.inc({ outcome: 'issued' })
    metrics.acmeLastSuccess.set(issuedAt.getTime() / 1000)
    metrics.acmeRenewalDue.set(renewAt({ notBefore, notAfter }, settings()?.renewBeforeDays, String(issuedAt.getTime())) / 1000)
    logger.info({ names: id.names, issuer: host, not_after: notAfter.toISOString() }, 'a certificate was issued')
  }

  async function fail(id: CertificateId, failures: number, error: unknown): Promise<void> {
    const { outcome, message, retryAfterMs } =
      error instanceof AcmeFailure ? error : new AcmeFailure('failed', causeText(error) || 'an unknown error')
    metrics.acmeOrders.inc({ outcome })
    const retryAt = new Date(clock.now() + retryAfter(outcome, failures, retryAfterMs, random()))
    const fields = { reason: 'acme_order_failed', outcome, names: id.names, cause: message, failures, retry_at: retryAt.toISOString() }
    if (lastCause !== `${outcome} ${message}`) logger.error(fields, 'no certificate was issued: the one in use stays')
    lastCause = `${outcome} ${message}`
    await saveFailure(db, id, { failures, last_outcome: outcome, retry_at: retryAt })
  }

  return {
    job: {
      name: 'certificate order',
      everySeconds: RUN_SECONDS,
      firstAfterSeconds: 0,
      run,
      stop: () => stopping.abort(new Error('the gateway stops')),
    },
    hurry() {
      isHurried = true
    },
  }
}

/** A run asks the database for one small row. */
const RUN_SECONDS = 2

/** After a failure the next kind is preferred. */
const turned = <T>(kinds: readonly T[], by: number): T[] => kinds.map((_, i) => kinds[(i + by) % kinds.length]!)
