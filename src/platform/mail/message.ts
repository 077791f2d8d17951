/** A mail on its way: what it is, and the message that is made of it. */
import type { Config } from '../config/schema.ts'
import { layOut } from './layout.ts'
import { contentOf, type Filled } from './templates.ts'

export type Message = Filled & {
  id: string
  to: string
  writtenAt: Date
}

/** Brings mails to where they go. */
export interface Transport {
  /** Resolves once somebody else answers for it. @throws RefusedMail when trying again is of no use; anything else is tried again */
  deliver(message: Message, signal: AbortSignal): Promise<void>
  close(): void
}

/** The mail server will not take it, now or later. */
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
  /** Nothing in a mail is a file or an address to be fetched: nodemailer would do both. */
  disableFileAccess: true
  disableUrlAccess: true
}

/** `Example <no-reply@example.com>`, or the address alone. */
function readAddress(text: string): Address {
  const [, name = '', address = text] = /^\s*"?([^"<>]*?)"?\s*<([^<>]+)>\s*$/.exec(text) ?? []
  return { name, address: address.trim() }
}

/** @returns what makes the message of a message: the same Message-ID and date however often it is tried */
export function createComposer({ server, mail }: Pick<Config, 'server' | 'mail'>): (message: Message) => MimeMessage {
  const { hostname } = new URL(server.publicUrl)
  const from = readAddress(mail.from ?? `no-reply@${hostname}`)
  const service = from.name || hostname
  const domain = from.address.slice(from.address.lastIndexOf('@') + 1)
  return (message) => {
    const { id, to, writtenAt } = message
    const content = contentOf(message, service)
    return {
      messageId: `<${id}@${domain}>`,
      date: writtenAt,
      from,
      // an object is taken as it is: a text would be parsed, and might be read as two recipients
      to: { name: '', address: to },
      subject: content.subject,
      ...layOut(content, service),
      // RFC 3834 §5: no vacation notices in return
      headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
      disableFileAccess: true,
      disableUrlAccess: true,
    }
  }
}
