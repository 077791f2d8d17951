/** The mails that the gateway has written: waiting in its outbox, or handed over. */
import type { Config } from '../../src/platform/config/schema.ts'
import { createComposer, type Message, type Transport } from '../../src/platform/mail/message.ts'
import { payloadLocation } from '../../src/platform/mail/outbox.ts'
import { createTexts } from '../../src/platform/texts/texts.ts'
import type { Gateway } from './gateway.ts'
import { rows } from './rows.ts'

export interface PostedMail {
  template: string
  data: any
}

/** Replaces the mail server: checks that each message can be composed, and keeps it. */
export function createRecorder(config: Config): Transport & { messages: Message[] } {
  const compose = createComposer(config, createTexts(config.auth.browser.languages))
  const messages: Message[] = []
  return {
    messages,
    async deliver(message) {
      compose(message)
      messages.push(message)
    },
    close() {},
  }
}

/** Oldest first. */
export async function mailsTo({ app, messages }: Pick<Gateway, 'app' | 'messages'>, address: string): Promise<PostedMail[]> {
  // in this order: a mail that is handed over between the two reads is in both
  const posted = await rows({ app }, 'SELECT * FROM outbox WHERE payload_sealed IS NOT NULL')
  const waiting = posted.map(({ id, user_id, template, payload_sealed }) => ({
    id,
    template,
    ...JSON.parse(app.platform.secrets.open(payloadLocation(id, user_id), payload_sealed).toString()),
  }))
  const mails = new Map([...waiting, ...messages].map((mail) => [mail.id, mail]))
  return [...mails.values()]
    .filter(({ to }) => to === address)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ template, data }) => ({ template, data }))
}

/** The token of a mailed link, from the fragment of its URL. */
export const tokenOf = ({ data }: PostedMail): string => new URLSearchParams(new URL(data.url).hash.slice(1)).get('token')!
