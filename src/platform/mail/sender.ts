/**
 * Sends what is in the outbox. A mail is claimed by a lease, so that one process has it at a time and a crash gives it back; it is erased once
 * it was sent, has expired or was given up. SMTP is at-least-once: a crash between the server's yes and our note sends it again, under the
 * same Message-ID.
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
  /** Sends what is due. @returns once nothing is, or the sender is to stop */
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

/** At a time: as many as there are connections to the mail server. */
const BATCH = 5
const SEND_MS = 60_000
/** Longer than a mail may take: nobody else has it meanwhile. */
const LEASE_SECONDS = 120
/** What is under way may be finished when the gateway stops. */
const STOP_MS = 3000
const MAX_ATTEMPTS = 50
const FIRST_WAIT_SECONDS = 5
const LONGEST_WAIT_SECONDS = 3600

/** 5 seconds, doubled by each attempt up to an hour; up to half of it less, so that those that failed together do not return together. */
export const waitSeconds = (attempts: number, random: () => number): number =>
  Math.min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** Math.min(attempts - 1, 20)) * (1 - random() / 2)

export function createSender({ db, secrets, transport, metrics, logger, random = Math.random }: SenderDeps): Sender {
  const stopping = new AbortController()
  let isStopping = false

  async function send(mail: ClaimedMail): Promise<void> {
    const { id, template, attempts } = mail
    const tell = (outcome: string) => metrics.mails.inc({ template, outcome })
    const giveUp = async (outcome: string, error: string) => {
      await giveUpMail(db, mail, error)
      tell(outcome)
      logger.error({ reason: 'mail_given_up', mail: id, template, attempts, cause: error }, 'a mail was not sent, and never will be')
    }
    if (mail.is_expired) return giveUp('expired', 'expired')
    try {
      await transport.deliver(letterOf(mail), AbortSignal.any([stopping.signal, AbortSignal.timeout(SEND_MS)]))
    } catch (error) {
      const { message } = error as Error
      if (error instanceof RefusedMail) return giveUp('refused', message)
      if (attempts >= MAX_ATTEMPTS) return giveUp('exhausted', message)
      await postponeMail(db, mail, waitSeconds(attempts, random), message)
      tell('deferred')
      logger.warn({ reason: 'mail_deferred', mail: id, template, attempts, cause: message }, 'a mail was not sent and will be tried again')
      return
    }
    await markSent(db, id)
    tell('sent')
  }

  function letterOf({ id, user_id, template, payload_sealed, created_at }: ClaimedMail): Message {
    const payload: Payload = JSON.parse(secrets.open(payloadLocation(id, user_id), payload_sealed).toString())
    return { id, template, writtenAt: created_at, ...payload } as Message
  }

  return {
    async run() {
      for (let isMore = true; isMore && !isStopping; ) {
        const due = await claimMails(db, BATCH, LEASE_SECONDS)
        const ends = await Promise.allSettled(due.map(send))
        const failure = ends.find((end) => end.status === 'rejected')
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
  { name: 'mail', everySeconds: 1, run: () => sender.run().catch(unlessAway), stop: sender.stop },
  { name: 'mail count', everySeconds: 15, run: async () => metrics.outboxWaiting.set(await countWaitingMails(db)) },
]

/** That the database is away is told by others, and not each second. */
function unlessAway(error: unknown): void {
  if (!isDatabaseAway(error)) throw error
}
