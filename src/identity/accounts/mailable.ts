import { invalidField } from '../../platform/lib/errors.ts'

/** Whether the mail server can send to this address. */
export type IsMailable = (address: string) => Promise<boolean>

/** @throws 422 for an address that the mail server cannot send to */
export async function assertMailable(isMailable: IsMailable, email: string): Promise<void> {
  if (await isMailable(email)) return
  throw invalidField('email', 'not_allowed', 'must have only ASCII characters before the @: our mail server has no SMTPUTF8 (RFC 6531)')
}
