/** Resets a forgotten password as its user does. */
import { call } from './client.ts'
import type { Gateway } from './gateway.ts'
import { mailsTo, type PostedMail, tokenOf } from './mails.ts'
import { until } from './processes.ts'

export const forgot = (gateway: Pick<Gateway, 'url'>, email: string, headers = {}) =>
  call(gateway, '/auth/password/forgot', { body: { email }, headers })

export const reset = (gateway: Pick<Gateway, 'url'>, token: string, new_password: string, keep_api_keys?: boolean) =>
  call(gateway, '/auth/password/reset', { body: { token, new_password, keep_api_keys } })

/** The mails with a reset link, oldest first. */
export const resetMails = async (gateway: Pick<Gateway, 'app' | 'messages'>, email: string): Promise<PostedMail[]> =>
  (await mailsTo(gateway, email)).filter((m) => m.template === 'reset_password')

/** The newest reset mail, once there are at least `count`: the mail is written after the response. */
export async function resetMail(gateway: Gateway, email: string, count = 1): Promise<PostedMail> {
  await until(async () => (await resetMails(gateway, email)).length >= count, `mail ${count} to ${email}`)
  return (await resetMails(gateway, email)).at(-1)!
}

/** Requests a reset link and takes its token out of the mail. */
export async function resetToken(gateway: Gateway, email: string, count = 1): Promise<string> {
  await forgot(gateway, email)
  return tokenOf(await resetMail(gateway, email, count))
}
