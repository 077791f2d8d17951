/** Logs in by mail as a user does: asks for a code, and takes it out of the mail. */
import { type Answer, call } from './client.ts'
import type { Gateway } from './gateway.ts'
import { mailsTo, tokenOf } from './mails.ts'
import { until } from './processes.ts'

export interface MailedLogin {
  flow: string
  code: string
  /** Of the link. Null in a mail without a link. */
  token: string | null
}

/** Asks for a code. @returns the token of the flow */
export async function askForCode(gateway: Pick<Gateway, 'url'>, email: string, headers: Record<string, string> = {}): Promise<string> {
  const { status, body } = await call(gateway, '/auth/login/email', { body: { email }, headers })
  if (status !== 202) throw new Error(`asking answered ${status}: ${JSON.stringify(body)}`)
  return body.flow_token
}

export const loginMails = async (gateway: Pick<Gateway, 'app' | 'messages'>, email: string) =>
  (await mailsTo(gateway, email)).filter(({ template }) => template === 'email_login')

/** Asks for a code, and waits for its mail. Not for several at a time to one address. */
export async function mailedLogin(gateway: Gateway, email: string, headers: Record<string, string> = {}): Promise<MailedLogin> {
  const before = (await loginMails(gateway, email)).length
  const flow = await askForCode(gateway, email, headers)
  const mail = await until(async () => (await loginMails(gateway, email))[before], `a mail to ${email}`)
  return { flow, code: mail.data.code, token: mail.data.url === null ? null : tokenOf(mail) }
}

export const verify = (gateway: Pick<Gateway, 'url'>, body: object, headers: Record<string, string> = {}): Promise<Answer> =>
  call(gateway, '/auth/login/email/verify', { body, headers })

export const byCode = (gateway: Pick<Gateway, 'url'>, { flow, code }: MailedLogin, more: object = {}): Promise<Answer> =>
  verify(gateway, { flow_token: flow, code, ...more })

export const byLink = (gateway: Pick<Gateway, 'url'>, { token }: MailedLogin, more: object = {}): Promise<Answer> =>
  verify(gateway, { token, ...more })

/** A code that is not this one. */
export const otherThan = (code: string): string => String((Number(code) + 1) % 1_000_000).padStart(6, '0')
