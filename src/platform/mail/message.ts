/** A mail to be sent, and the MIME message made from it. */
import type { Config } from '../config/schema.ts'
import type { Texts } from '../texts/texts.ts'
import { layOut } from './layout.ts'
import { contentOf, type Filled } from './templates.ts'

export type Message = Filled & {
  id: string
  to: string
  /** Of the recipient. Without a language: the first of the configuration. */
  language?: string | null
  writtenAt: Date
}

/** Delivers mails. */
export interface Transport {
  /** Resolves once the mail server has accepted the mail. @throws RefusedMail when a retry is useless; after other errors the mail is retried */
  deliver(message: Message, signal: AbortSignal): Promise<void>
  /**
   * Whether mails to an address with a local part outside ASCII can be sent (RFC 6531: SMTPUTF8). True while the mail server gives no answer.
   * Without this function the transport takes every address.
   */
  takesUtf8?(): Promise<boolean>
  close(): void
}

/** The domain goes out in its ASCII form. A local part outside ASCII has none: the mail server must offer SMTPUTF8. */
export const needsUtf8 = (address: string): boolean => /[^\x20-\x7e]/.test(address.slice(0, address.lastIndexOf('@')))

/** The mail server refuses the mail permanently. */
export class RefusedMail extends Error {}

interface Address {
  name: string
  address: string
}

export interface MimeMessage {
  messageId: string
  date: Date
  from: Address
  to: Address
  subject: string
  text: string
  html: string
  headers: Record<string, string>
  /** nodemailer can read files and fetch URLs for a mail. Our mails need neither. */
  disableFileAccess: true
  disableUrlAccess: true
}

/** `Example <no-reply@example.com>`, or the address alone. */
function readAddress(text: string): Address {
  const [, name = '', address = text] = /^\s*"?([^"<>]*?)"?\s*<([^<>]+)>\s*$/.exec(text) ?? []
  return { name, address: address.trim() }
}

/** @returns makes the MIME message of a mail; Message-ID and date are the same at every attempt */
export function createComposer(
  { server, mail, auth }: Pick<Config, 'server' | 'mail' | 'auth'>,
  texts: Texts,
): (message: Message) => MimeMessage {
  const { enabled, brand } = auth.browser
  const { hostname } = new URL(server.publicUrl)
  const from = readAddress(mail.from ?? `no-reply@${hostname}`)
  const service = brand.name ?? (from.name || hostname)
  const ui = `${server.publicUrl}${auth.prefix}/ui`
  const pages = enabled ? { login: `${ui}/login`, forgot: `${ui}/forgot` } : null
  const domain = from.address.slice(from.address.lastIndexOf('@') + 1)
  return (message) => {
    const { id, to, writtenAt } = message
    const language = texts.of(message.language)
    const content = contentOf(message, { service, language, pages })
    return {
      messageId: `<${id}@${domain}>`,
      date: writtenAt,
      from,
      // an object, because nodemailer would parse a string and might read two recipients
      to: { name: '', address: to },
      subject: content.subject,
      ...layOut(content, { service, language, accent: brand.accent, supportUrl: brand.supportUrl }),
      // RFC 3834 §5: prevents automatic answers such as vacation notices
      headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
      disableFileAccess: true,
      disableUrlAccess: true,
    }
  }
}
