/** Schemas that several endpoints share. */

import { type TOptional, type TString, Type } from 'typebox'
import type { Config } from '../../platform/config/schema.ts'
import { documented } from '../../platform/http/endpoint.ts'
import { UserSchema } from './user-view.ts'

/** The bound is generous, since the password policy counts bytes and code points afterwards. */
export const Password = documented(Type.String({ minLength: 1, maxLength: 4096 }), { examples: ['plain zebra in the meadow'] })

/** An address that names an account, or will. What is not an address is refused with words of its own. */
export const Email = documented(Type.String({ maxLength: 254 }), {
  format: 'email',
  pattern: '^[^@]{1,64}@[^@]{1,189}$',
  examples: ['ann@example.com'],
})
/** An address that is looked for. Any text is taken, so that nobody learns from the answer. */
export const Address = Type.String({ minLength: 1, maxLength: 254 })

const USERNAME = '^[A-Za-z0-9][A-Za-z0-9._-]{2,31}$'

/** The field `username` of a new account, as `auth.username` asks for it. */
export function usernameField(usernames: Config['auth']['username']): { username: TOptional<TString> } {
  const name = documented(Type.String({ maxLength: 64 }), { pattern: USERNAME, examples: ['ann'] })
  if (usernames === 'off') return {} as never
  return { username: (usernames === 'required' ? name : Type.Optional(name)) as TOptional<TString> }
}

/** A code of an authenticator app, or a backup code. The bound leaves room for spaces and hyphens. */
export const Code = Type.String({ minLength: 6, maxLength: 32 })

export const Tokens = Type.Object(
  {
    user: UserSchema,
    access_token: Type.String(),
    refresh_token: Type.String(),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer({ description: 'Seconds.' }),
  },
  { title: 'Tokens' },
)

/** After a step-up: tokens, or a cookie in the headers. The first schema that fits is taken. */
export const Renewed = Type.Union([Tokens, Type.Object({ user: UserSchema })])

/** The request continues by mail. The answer does not reveal whether a mail was sent. */
export const Accepted = Type.Object({ status: Type.Literal('accepted') }, { title: 'Accepted' })

/** The answer for a registration whose address must be proven first. An address that has an account gets the same answer. */
export const Pending = Type.Object({ status: Type.Literal('pending') }, { title: 'Pending' })
