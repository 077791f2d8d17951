/** A forgotten password, as its owner lives through it. */
import { call } from './client.ts'
import type { Gateway } from './gateway.ts'
import { mailsTo, type PostedMail, tokenOf } from './mails.ts'
import { until } from './processes.ts'

export const forgot = (gateway: Pick<Gateway, 'url'>, email: string, headers = {}) =>
  call(gateway, '/auth/password/forgot', { body: { email }, headers })

export const reset = (gateway: Pick<Gateway, 'url'>, token: string, new_password: string) =>
  call(gateway, '/auth/password/reset', { body: { token, new_password } })

/** Those with such a link, oldest first. */
export const resetMails = async (gateway: Pick<Gateway, 'app' | 'letters'>, email: string): Promise<PostedMail[]> =>
  (await mailsTo(gateway, email)).filter((m) => m.template === 'reset_password')

/** The newest of them, once there are as many as `count`: it is written after the answer. */
export async function resetMail(gateway: Gateway, email: string, count = 1): Promise<PostedMail> {
  await until(async () => (await resetMails(gateway, email)).length >= count, `mail ${count} to ${email}`)
  return (await resetMails(gateway, email)).at(-1)!
}

/** Asks for a link and takes it out of the mail. */
export async function resetToken(gateway: Gateway, email: string, count = 1): Promise<string> {
  await forgot(gateway, email)
  return tokenOf(await resetMail(gateway, email, count))
}
