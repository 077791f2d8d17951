/** Authenticates a machine client (RFC 6749 §2.3, RFC 7523) by one of three methods. Every refusal gets the same answer. */

import { hash, timingSafeEqual } from 'node:crypto'
import type { AuditContext } from '../../platform/audit/audit.ts'
import type { Db } from '../../platform/db/database.ts'
import { decodePart, type Form } from '../../platform/http/form.ts'
import { Problem, problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import type { RequestContext } from '../../platform/request/request-context.ts'
import type { CountCaller } from '../access/require-auth.ts'
import type { CredentialLimits } from '../credentials/credential-limits.ts'
import type { Accounts } from '../sessions/account-transaction.ts'
import { ASSERTION_TYPE, type ClientAssertions } from './client-assertion.ts'
import { findClientById, type OAuthClient } from './clients.repo.ts'

/** A request to an OAuth endpoint. */
export interface OAuthRequest {
  authorization: string | undefined
  form: Form
  context: RequestContext
}

/** @returns null when the request has no client credential. @throws invalid_client, invalid_request, rate_limited */
export type AuthenticateClient = (request: OAuthRequest) => Promise<OAuthClient | null>

export interface ClientAuthenticationDeps {
  db: Db
  accounts: Accounts
  limits: CredentialLimits
  assertions: ClientAssertions
  countCaller: CountCaller
}

type Shown = { clientId: string; secret: string } | { clientId: string | undefined; assertion: string }

export const secretHashOf = (secret: string): Buffer => hash('sha256', secret, 'buffer')
/** Compared for an unknown client, so that the work is the same. No secret has this hash. */
const NO_SECRET_HASH = Buffer.alloc(32)

export function createClientAuthentication({
  db,
  accounts,
  limits,
  assertions,
  countCaller,
}: ClientAuthenticationDeps): AuthenticateClient {
  async function bySecret(clientId: string, secret: string): Promise<OAuthClient> {
    const client = isId(clientId) ? await findClientById(db, clientId) : undefined
    const isSame = timingSafeEqual(secretHashOf(secret), client?.secret_hash ?? NO_SECRET_HASH)
    if (!client?.secret_hash || !isSame || client.disabled_at)
      throw problem('invalid_client', { cause: 'the client is unknown or disabled, or the secret is wrong' })
    return client
  }

  async function byAssertion(clientId: string | undefined, assertion: string): Promise<OAuthClient> {
    const client = await assertions.verify(assertion)
    // RFC 7521 §4.2
    if (clientId !== undefined && clientId !== client.id)
      throw problem('invalid_client', { cause: 'client_id is not the client that signed the assertion' })
    return client
  }

  const recordRefusal = (shown: Shown, context: AuditContext) => {
    const [event, outcome] = ['client_authentication', 'invalid_client']
    accounts.count(event, outcome)
    const actor = shown.clientId !== undefined && isId(shown.clientId) ? `client:${shown.clientId}` : null
    return accounts.record(event, { outcome, actor }, context)
  }

  return async ({ authorization, form, context }) => {
    const shown = readShown(authorization, form)
    if (!shown) return null
    const client = await limits.client(context.client, async () => {
      try {
        return await ('secret' in shown ? bySecret(shown.clientId, shown.secret) : byAssertion(shown.clientId, shown.assertion))
      } catch (error) {
        if (error instanceof Problem && error.code === 'invalid_client') await recordRefusal(shown, context)
        throw error
      }
    })
    await countCaller({ kind: 'client', id: client.id, sessionId: client.id }, context)
    return client
  }
}

/** RFC 6749 §2.3: a request uses only one method of client authentication. */
function readShown(authorization: string | undefined, form: Form): Shown | null {
  const { client_id: clientId, client_secret: secret, client_assertion: assertion, client_assertion_type: type } = form
  const hasAssertion = assertion !== undefined || type !== undefined
  if ([authorization !== undefined, secret !== undefined, hasAssertion].filter(Boolean).length > 1)
    throw problem('invalid_request', { detail: 'The request has several client credentials. Send one only.' })
  if (authorization !== undefined) {
    const basic = readBasic(authorization)
    if (clientId !== undefined && clientId !== basic.clientId)
      throw problem('invalid_request', { detail: 'The request names two different clients. Send one client_id.' })
    return basic
  }
  if (secret !== undefined) {
    if (clientId === undefined) throw problem('invalid_request', { detail: 'client_id is missing. Send it beside client_secret.' })
    return { clientId, secret }
  }
  if (!hasAssertion) return null
  if (assertion === undefined || type !== ASSERTION_TYPE)
    throw problem('invalid_request', { detail: `Send client_assertion together with client_assertion_type=${ASSERTION_TYPE}.` })
  return { clientId, assertion }
}

/** RFC 7617. RFC 6749 §2.3.1 adds that both parts are form-encoded. */
function readBasic(authorization: string): { clientId: string; secret: string } {
  const [, text = ''] = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(authorization) ?? []
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(text, 'base64').toString()) ?? []
  const [clientId, decoded] = [decodePart(id ?? ''), decodePart(secret ?? '')]
  if (!clientId || !decoded) throw problem('invalid_client', { cause: 'the Authorization header is not of the form Basic id:secret' })
  return { clientId, secret: decoded }
}
