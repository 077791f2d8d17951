/**
 * The secrets of a login by mail: the token of the flow, and the code. The token has 256 random bits, its end and a tag under the secret key.
 * So the gateway knows its own tokens without a row: there is none for an address without an account, and no answer may show it.
 */
import { createHash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../platform/lib/clock.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'

export interface EmailLoginSecrets {
  /** Makes a token, and the hash by which it is stored. */
  begin(): { token: string; hash: Buffer }
  /** @returns the stored hash of a token. @throws flow_invalid for a token that is not ours, or has expired */
  open(token: string): Buffer
  /** @returns a code of six digits and its MAC. @param id of the login, which is a part of the MAC: no other login takes the code */
  newCode(id: string): { code: string; mac: string }
  /** The same work without a login. @param typed may hold spaces and hyphens */
  isCode(login: { id: string; code_mac: string } | undefined, typed: string): boolean
}

export const EMAIL_LOGIN_SECONDS = 600

/** When it ends, in seconds; random bits; a tag. */
const TOKEN = /^(\d{10})\.[A-Za-z0-9_-]{43}\.([A-Za-z0-9_-]{22})$/
const TAG_BYTES = 16
const FLOW = 'flow of a login by mail'
const CODE = 'code of a login by mail'

export function createEmailLoginSecrets({ secrets, clock }: { secrets: Secrets; clock: Clock }): EmailLoginSecrets {
  const nobody = { id: '', code_mac: secrets.mac(CODE, 'nobody') }
  const dataOf = (id: string, code: string) => JSON.stringify([id, code])
  const hashOf = (token: string) => createHash('sha256').update(token).digest()
  const tagOf = (derived: Buffer) => derived.subarray(0, TAG_BYTES)

  return {
    begin() {
      const body = `${Math.floor(clock.now() / 1000) + EMAIL_LOGIN_SECONDS}.${randomBytes(32).toString('base64url')}`
      const token = `${body}.${tagOf(secrets.derive(FLOW, Buffer.from(body))).toString('base64url')}`
      return { token, hash: hashOf(token) }
    },
    open(token) {
      const [, end, tag] = TOKEN.exec(token) ?? []
      if (end === undefined || tag === undefined) throw problem('flow_invalid', { cause: 'the token has another form' })
      const body = Buffer.from(token.slice(0, -tag.length - 1))
      const given = Buffer.from(tag, 'base64url')
      const isOurs = secrets.deriveAll(FLOW, body).some((derived) => timingSafeEqual(given, tagOf(derived)))
      if (!isOurs) throw problem('flow_invalid', { cause: 'the token is not ours' })
      if (Number(end) * 1000 <= clock.now()) throw problem('flow_invalid', { cause: 'the flow has expired' })
      return hashOf(token)
    },
    newCode(id) {
      const code = String(randomInt(1_000_000)).padStart(6, '0')
      return { code, mac: secrets.mac(CODE, dataOf(id, code)) }
    },
    isCode(login, typed) {
      const { id, code_mac } = login ?? nobody
      return secrets.verifyMac(CODE, dataOf(id, typed.replace(/[\s-]/g, '')), code_mac) && login !== undefined
    },
  }
}
