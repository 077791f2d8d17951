/** Sends mails over SMTP, with a small pool of connections and TLS. Without TLS only to a mail server on this machine. */
import { createTransport } from 'nodemailer'
import SMTPConnection from 'nodemailer/lib/smtp-connection'
import type { Config } from '../config/schema.ts'
import { systemClock } from '../lib/clock.ts'
import { type Message, type MimeMessage, needsUtf8, RefusedMail, type Transport } from './message.ts'

const CONNECTIONS = 5
const CONNECT_MS = 10_000
const SILENCE_MS = 20_000

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/** @param url `smtp://user:password@host:port`, or `smtps://` */
export function smtpOptions(url: string, startTls: Config['mail']['startTls']) {
  const { protocol, hostname, port, username, password } = new URL(url)
  const isRequired = startTls === undefined ? !LOOPBACK.test(hostname) : startTls === 'required'
  const secure = protocol === 'smtps:'
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port ? Number(port) : secure ? 465 : 587,
    secure,
    requireTLS: isRequired,
    // an attacker who can forge a certificate can also remove optional encryption: verification would only lose mails
    tls: { minVersion: 'TLSv1.2' as const, rejectUnauthorized: secure || isRequired },
    ...(username ? { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } } : {}),
    pool: true as const,
    maxConnections: CONNECTIONS,
    maxRequeues: 1, //               default 5: the outbox tries again, with longer waits
    connectionTimeout: CONNECT_MS, // default 2 minutes
    greetingTimeout: CONNECT_MS,
    dnsTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS, //    default 10 minutes
    logger: false as const,
  }
}

interface SmtpError {
  code?: unknown
  responseCode?: unknown
  command?: unknown
}

/** RFC 3207, RFC 4954: 5xx codes about our TLS or authentication, not about the mail. */
const ABOUT_US = new Set([530, 534, 535, 538])

/** Refused permanently (RFC 5321 §4.2.1: 5yz), or in a form that this server never accepts. 503 is about the SMTP session, not the mail. */
function isFinal({ code, responseCode }: SmtpError): boolean {
  if (code !== 'EENVELOPE' && code !== 'EMESSAGE') return false
  if (typeof responseCode !== 'number') return true
  return responseCode >= 500 && responseCode !== 503 && !ABOUT_US.has(responseCode)
}

/** Only codes and commands: the server's text may repeat the address or other personal data. */
function wordsOf({ code, responseCode, command }: SmtpError): string {
  const words = [code, responseCode, command].filter((word) => /^[A-Z0-9][A-Z0-9 _-]{0,30}$/.test(String(word ?? '')))
  return words.join(' ') || 'no answer'
}

/** The answer of the mail server is kept this long. */
const FEATURES_MS = 600_000
/** A user waits for this answer. */
const ASK_MS = { connectionTimeout: 3000, greetingTimeout: 3000, dnsTimeout: 3000, socketTimeout: 3000 }

/**
 * Greets the mail server, with TLS where it is required, and before any authentication.
 * @returns the extensions that it offers @throws the codes of the error
 */
const greet = (options: ReturnType<typeof smtpOptions>): Promise<readonly string[]> =>
  new Promise((resolve, reject) => {
    const connection = new SMTPConnection({ ...options, ...ASK_MS }) as SMTPConnection & { _supportedExtensions: string[] }
    connection.once('error', (error) => {
      connection.close()
      reject(new Error(wordsOf(error as SmtpError)))
    })
    connection.connect(() => {
      const offered = connection._supportedExtensions
      connection.quit()
      resolve(offered)
    })
  })

/** Connects and says EHLO. Nothing is mailed. @throws the codes of the error */
export const greetMailServer = async (url: string, startTls: Config['mail']['startTls']): Promise<void> =>
  void (await greet(smtpOptions(url, startTls)))

/** @returns null without an answer */
const asksForUtf8 = (options: ReturnType<typeof smtpOptions>): Promise<boolean | null> =>
  greet(options).then(
    (offered) => offered.includes('SMTPUTF8'),
    () => null,
  )

export function createSmtpTransport(
  { url, startTls }: { url: string; startTls: Config['mail']['startTls'] },
  compose: (message: Message) => MimeMessage,
): Transport {
  const options = smtpOptions(url, startTls)
  const pool = createTransport(options)
  let known: { takesUtf8: Promise<boolean | null>; until: number } | null = null

  async function takesUtf8(): Promise<boolean> {
    if (known === null || systemClock.steady() >= known.until)
      known = { takesUtf8: asksForUtf8(options), until: systemClock.steady() + FEATURES_MS }
    const answer = await known.takesUtf8
    // a server without an answer is asked again at the next address
    if (answer === null) known = null
    return answer ?? true
  }

  return {
    takesUtf8,
    async deliver(message, signal) {
      const mime = compose(message)
      if (needsUtf8(message.to) && !(await takesUtf8())) throw new RefusedMail('no SMTPUTF8')
      try {
        await pool.sendMail({ ...mime, signal })
      } catch (error) {
        const words = wordsOf(error as SmtpError)
        throw isFinal(error as SmtpError) ? new RefusedMail(words) : new Error(words)
      }
    },
    close: () => pool.close({ force: true }),
  }
}
