/** ACME in a process that serves requests: it answers challenges, and uses the certificate that one of the gateways has ordered. */
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { AcmeSettings } from '../platform/acme/acme-settings.ts'
import { createChallenges } from '../platform/acme/challenges.ts'
import { type AnswerHttpChallenge, createAnswerHttpChallenge } from '../platform/acme/http-challenge.ts'
import { createIssuer, type Issuer } from '../platform/acme/issuer.ts'
import { findStoredCertificate } from '../platform/acme/stored-certificate.ts'
import type { Config } from '../platform/config/schema.ts'
import { isDatabaseAway } from '../platform/db/database.ts'
import { causeText } from '../platform/lib/errors.ts'
import type { Platform } from './platform.ts'
import { createTlsAlpn, type TakeConnection } from './tls-alpn.ts'

export interface AcmeFollower {
  answerHttp: AnswerHttpChallenge
  takeConnection: TakeConnection
  hasCertificate(): boolean
  /** Uses the certificate that is in the database, if there is one, and looks for others from now on. */
  start(server: { setSecureContext(options: SecureContextOptions): void }): Promise<void>
  /** Another configuration is in force. */
  use(tls: AcmeTls): void
  stop(): void
}

type Tls = NonNullable<Config['server']['tls']>
export type AcmeTls = Tls & { acme: AcmeSettings }

export const acmeTlsOf = ({ server: { tls } }: Config): AcmeTls | null => (tls?.acme ? (tls as AcmeTls) : null)

export function createAcmeFollower({ db, secrets, clock, logger, metrics, config }: Platform, first: AcmeTls): AcmeFollower {
  const challenges = createChallenges({ db, secrets, clock })
  let tls = first
  let inUse: string | null = null
  let lastFault = ''
  let lastUnreadable = ''
  let timer: NodeJS.Timeout | undefined
  let isStopped = false
  let server: Parameters<AcmeFollower['start']>[0] | null = null

  function logUnreadable(names: string): void {
    if (names !== lastUnreadable)
      logger.error({ reason: 'certificate_unusable', names }, 'the private key of a certificate was sealed with another secret key')
    lastUnreadable = names
  }

  async function look(): Promise<void> {
    await challenges.read()
    const found = await findStoredCertificate({ db, secrets }, tls.acme, inUse, logUnreadable)
    if (found === null || isStopped) return
    const options = { cert: found.chain, key: found.key }
    // a chain that was changed in the database must not replace a good one
    createSecureContext(options)
    // open connections keep the old certificate
    server!.setSecureContext(options)
    inUse = found.version
    metrics.tlsNotAfter.collectFrom(() => found.notAfter / 1000)
    logger.info({ not_after: new Date(found.notAfter).toISOString() }, 'the new certificate is in use')
  }

  /** The certificate in use stays when anything fails. */
  async function follow(): Promise<void> {
    clearTimeout(timer)
    await look().then(
      () => {
        lastFault = ''
      },
      (error) => {
        const cause = causeText(error)
        if (!isDatabaseAway(error) && cause !== lastFault)
          logger.error({ reason: 'certificate_unusable', cause }, 'the certificate of the database cannot be used')
        lastFault = cause
      },
    )
    clearTimeout(timer)
    if (!isStopped) timer = setTimeout(follow, tls.reloadSeconds * 1000).unref()
  }

  return {
    answerHttp: createAnswerHttpChallenge(challenges, () => metrics.acmeAnswers.inc({ challenge: 'http-01' })),
    takeConnection: createTlsAlpn(challenges.certificates, config.server.headersTimeoutMs, () =>
      metrics.acmeAnswers.inc({ challenge: 'tls-alpn-01' }),
    ),
    hasCertificate: () => inUse !== null,
    start(listener) {
      server = listener
      return follow()
    },
    use(next) {
      tls = next
      if (server) void follow()
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}

/** For one process of the gateway. Null: the certificate comes from files. @param configOf the configuration in force */
export function createAcmeIssuer(
  platform: Platform,
  hmacKey: string | null,
  configOf: () => Config,
  isServing: () => boolean,
): Issuer | null {
  if (!acmeTlsOf(platform.config)) return null
  const { database, db, secrets, audit, clock, logger, metrics } = platform
  return createIssuer({
    db,
    needsLock: database.kind === 'postgres',
    secrets,
    hmacKey,
    audit,
    clock,
    logger,
    metrics,
    settings: () => acmeTlsOf(configOf())?.acme ?? null,
    readEverySeconds: () => configOf().server.tls?.reloadSeconds ?? 0,
    isServing,
  })
}
