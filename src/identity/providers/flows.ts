/**
 * Sign-ins on their way through a provider. The database keeps hashes alone: of `state`, which the provider brings back, and of a value that
 * only the browser has. Nonce and code verifier are derived from that value, so that they are stored nowhere.
 */
import { createHash, randomBytes } from 'node:crypto'
import { type Db, databaseNow, type Transaction } from '../../platform/db/database.ts'
import { problem } from '../../platform/lib/errors.ts'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { insertFlow, keepAnswer, type LoginFlow, takeFlow } from './login-flows.repo.ts'
import type { Expected, Provider } from './provider.ts'

/** What a sign-in is for, and where it goes on. */
export type FlowPurpose = Pick<LoginFlow, 'intent' | 'user_id' | 'session_id' | 'invitation' | 'return_to' | 'is_persistent'>

export interface NewFlow {
  state: string
  /** For the cookie of the browser. */
  secret: string
  expected: Expected
}

export interface TakenFlow {
  flow: LoginFlow
  expected: Expected
  answer: URLSearchParams
}

export interface Flows {
  begin(db: Db | Transaction, provider: Provider, purpose: FlowPurpose): Promise<NewFlow>
  /** Keeps an answer that came by form, until the browser comes back with its session cookie. @throws flow_invalid */
  keep(provider: Provider, answer: URLSearchParams, secret: string | null): Promise<void>
  /** Uses the flow up. @param secret of the cookie of this flow. @throws flow_invalid */
  take(provider: Provider, answer: URLSearchParams, secret: string | null): Promise<TakenFlow>
}

export interface FlowsDeps {
  db: Db
  secrets: Secrets
  /** `server.publicUrl` and `auth.prefix`. */
  base: string
}

export const FLOW_SECONDS = 600
const FORM = /^[A-Za-z0-9_-]{43}$/
const MAX_ANSWER = 8192

export const isFlowText = (text: string | null): text is string => text !== null && FORM.test(text)

const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest()

/** Names the cookie of a flow. */
export const flowTag = (state: string): string => hashOf(`tag|${state}`).toString('hex').slice(0, 16)

const flowInvalid = (cause: string) => problem('flow_invalid', { cause })

export function createFlows({ db, secrets, base }: FlowsDeps): Flows {
  const redirectUri = ({ id }: Provider) => `${base}/providers/${id}/callback`

  function expectedOf(provider: Provider, state: string, secret: string, notBefore: number | null): Expected {
    const derived = (purpose: string) => secrets.derive(`login flow ${purpose}`, Buffer.from(`${state}.${secret}`)).toString('base64url')
    return { redirectUri: redirectUri(provider), state, nonce: derived('nonce'), codeVerifier: derived('verifier'), notBefore }
  }

  const notBeforeOf = ({ intent, created_at }: Pick<LoginFlow, 'intent' | 'created_at'>) =>
    intent === 'reauthenticate' ? created_at.getTime() : null

  /** @throws flow_invalid */
  function keyOf(provider: Provider, answer: URLSearchParams, secret: string | null) {
    const states = answer.getAll('state')
    const [state = null] = states
    if (states.length !== 1 || !isFlowText(state)) throw flowInvalid('the answer has no state of ours')
    if (!isFlowText(secret)) throw flowInvalid('the browser has no cookie of this sign-in')
    return { state, secret, key: { state_hash: hashOf(state), cookie_hash: hashOf(secret), provider: provider.id } }
  }

  const sealedAt = (state_hash: Buffer) => ({ table: 'login_flows', row: state_hash.toString('hex'), column: 'answer_sealed', owner: '' })

  return {
    async begin(on, provider, purpose) {
      const [state, secret] = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')]
      const created_at = await databaseNow(on)
      await insertFlow(on, {
        state_hash: hashOf(state),
        cookie_hash: hashOf(secret),
        provider: provider.id,
        ...purpose,
        answer_sealed: null,
        created_at,
        expires_at: new Date(created_at.getTime() + FLOW_SECONDS * 1000),
      })
      return { state, secret, expected: expectedOf(provider, state, secret, notBeforeOf({ ...purpose, created_at })) }
    },
    async keep(provider, answer, given) {
      const { key } = keyOf(provider, answer, given)
      const text = answer.toString()
      if (text.length > MAX_ANSWER) throw flowInvalid('the answer is too long')
      if (!(await keepAnswer(db, key, secrets.seal(sealedAt(key.state_hash), Buffer.from(text)))))
        throw flowInvalid('the sign-in is unknown, has expired, or has an answer')
    },
    async take(provider, answer, given) {
      const { state, secret, key } = keyOf(provider, answer, given)
      const flow = await takeFlow(db, key)
      if (!flow) throw flowInvalid('the sign-in is unknown, has expired, or was finished')
      const expected = expectedOf(provider, state, secret, notBeforeOf(flow))
      if (!provider.isFormPost) return { flow, expected, answer }
      if (flow.answer_sealed === null) throw flowInvalid('the answer did not come by form')
      return { flow, expected, answer: new URLSearchParams(secrets.open(sealedAt(key.state_hash), flow.answer_sealed).toString()) }
    },
  }
}
