/** Shapes that several endpoints share. */
import { Type } from 'typebox'
import { UserSchema } from './user-view.ts'

/** Generous: the policy, which counts bytes and code points, judges afterwards. */
export const Password = Type.String({ minLength: 1, maxLength: 4096 })

/** Of an authenticator app, or a backup code. */
export const Code = Type.String({ minLength: 6, maxLength: 16 })

export const Tokens = Type.Object({
  user: UserSchema,
  access_token: Type.String(),
  refresh_token: Type.String(),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'Seconds.' }),
})

/** It goes on by mail; whether there is somebody to mail is not told. */
export const Accepted = Type.Object({ status: Type.Literal('accepted') })

/** A registration whose address is to be proven first; the same for an address that has an account. */
export const Pending = Type.Object({ status: Type.Literal('pending') })
