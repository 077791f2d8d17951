/**
 * Sends the mails of the outbox. A process claims a mail by a lease: no other process sends it meanwhile, and after a crash the lease expires.
 * The content is erased once the mail was sent, has expired or was given up. Delivery is at-least-once: after a crash between the mail server's
 * acceptance and our note, the mail is sent again with the same Message-ID.
 */
import { type Db, isDatabaseAway } from '../db/database.ts'
import type { Job } from '../jobs/schedule.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Secrets } from '../vault/secrets.ts'
import { type Message, RefusedMail, type Transport } from './message.ts'
import { type ClaimedMail, claimMails, countWaitingMails, giveUpMail, markSent, postponeMail } from './outbox.repo.ts'
import { type Payload, payloadLocation } from './outbox.ts'

export interface Sender {
  /** Sends the due mails. @returns when none is left, or after `stop` */
  run(): Promise<void>
  stop(): void
}

export interface SenderDeps {
  db: Db
  secrets: Secrets
  transport: Transport
  metrics: Metrics
  logger: Logger
  random?: () => number
}

/** Mails sent in parallel: as many as connections to the mail server. */
const BATCH = 5
const SEND_MS = 60_000
/** Longer than SEND_MS, so that no other process claims the mail meanwhile. */
const LEASE_SECONDS = 120
/** At a stop, mails in progress have this long to finish. */
const STOP_MS = 3000
const MAX_ATTEMPTS = 50
const FIRST_WAIT_SECONDS = 5
const LONGEST_WAIT_SECONDS = 3600

/** 5 seconds, doubled by each attempt up to an hour. A random part of up to half is subtracted, so that mails that failed together are spread. */
export const waitSeconds = (attempts: number, random: () => number): number =>
  Math.min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** Math.min(attempts - 1, 20)) * (1 - random() / 2)

export function createSender({ db, secrets, transport, metrics, logger, random = Math.random }: SenderDeps): Sender {
  const stopping = new AbortController()
  let isStopping = false

  async function send(mail: ClaimedMail): Promise<void> {
    const { id, template, attempts } = mail
    const count = (outcome: string) => metrics.mails.inc({ template, outcome })
    const giveUp = async (outcome: string, error: string) => {
      await giveUpMail(db, mail, error)
      count(outcome)
      logger.error({ reason: 'mail_given_up', mail: id, template, attempts, cause: error }, 'a mail could not be sent and was given up')
    }
    if (mail.is_expired) return giveUp('expired', 'expired')
    try {
      await transport.deliver(messageOf(mail), AbortSignal.any([stopping.signal, AbortSignal.timeout(SEND_MS)]))
    } catch (error) {
      const { message } = error as Error
      if (error instanceof RefusedMail) return giveUp('refused', message)
      if (attempts >= MAX_ATTEMPTS) return giveUp('exhausted', message)
      await postponeMail(db, mail, waitSeconds(attempts, random), message)
      count('deferred')
      logger.warn(
        { reason: 'mail_deferred', mail: id, template, attempts, cause: message },
        'a mail could not be sent and will be tried again',
      )
      return
    }
    await markSent(db, id)
    count('sent')
  }

  function messageOf({ id, user_id, template, payload_sealed, created_at }: ClaimedMail): Message {
    const payload: Payload = JSON.parse(secrets.open(payloadLocation(id, user_id), payload_sealed).toString())
    return { id, template, writtenAt: created_at, ...payload } as Message
  }

  return {
    async run() {
      for (let isMore = true; isMore && !isStopping; ) {
        const due = await claimMails(db, BATCH, LEASE_SECONDS)
        const results = await Promise.allSettled(due.map(send))
        const failure = results.find((result) => result.status === 'rejected')
        if (failure) throw failure.reason
        isMore = due.length === BATCH
      }
    },
    stop() {
      isStopping = true
      setTimeout(() => stopping.abort(), STOP_MS).unref()
    },
  }
}

export const mailJobs = (db: Db, sender: Sender, metrics: Metrics): Job[] => [
  { name: 'mail', everySeconds: 1, run: () => sender.run().catch(ignoreAway), stop: sender.stop },
  { name: 'mail count', everySeconds: 15, run: async () => metrics.outboxWaiting.set(await countWaitingMails(db)) },
]

/** This job runs every second; other parts already log that the database is not available. */
function ignoreAway(error: unknown): void {
  if (!isDatabaseAway(error)) throw error
}
