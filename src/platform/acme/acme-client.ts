/**
 * Opens a session with an ACME server (RFC 8555). The library `acme-client` has the protocol: JWS, nonces, orders, certificate requests. Its
 * HTTP is replaced: calls are bounded in time and size, use the operator's CA, and failures keep their cause and their Retry-After.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Client } from 'acme-client'
import { createBoundedFetch, type Fetch } from '../lib/bounded-fetch.ts'
import type { Clock } from '../lib/clock.ts'
import { causeText } from '../lib/errors.ts'
import { VERSION } from '../lib/version.ts'
import type { Outcome } from './renewal.ts'

type Library = typeof import('acme-client')

/** An order that did not give a certificate. */
export class AcmeFailure extends Error {
  readonly outcome: Exclude<Outcome, 'issued'>
  /** What the server asks for; 0: nothing. */
  readonly retryAfterMs: number
  /** RFC 8555 §6.7, without its prefix, such as accountDoesNotExist. Empty: the server named none. */
  readonly type: string
  constructor(outcome: AcmeFailure['outcome'], message: string, { retryAfterMs = 0, type = '' } = {}) {
    super(message)
    this.outcome = outcome
    this.retryAfterMs = retryAfterMs
    this.type = type
  }
}

export interface AcmeAccess {
  directoryUrl: string
  /** PEM. */
  accountKey: string
  /** RFC 8555 §7.3.4. */
  eab: { kid: string; hmacKey: string } | null
  /** PEM file of the CAs that may sign the certificate of the ACME server. */
  ca: string | undefined
  clock: Clock
}

export interface AcmeSession {
  client: Client
  crypto: Library['crypto']
  /** Runs calls of the client. @throws AcmeFailure */
  run<T>(work: () => Promise<T>): Promise<T>
  /** Why the last call failed; null: it did not. The library's errors do not say it. */
  failure(): AcmeFailure | null
}

/** What is known about the last call. */
interface Calls {
  fetch: Fetch
  clock: Clock
  failure: AcmeFailure | null
}

const calls = new AsyncLocalStorage<Calls>()
/** A server may take long to sign. */
const ANSWER_MS = 30_000
const MAX_DETAIL = 300

/** The library is loaded here, so that a gateway without ACME never has it in memory. @throws when the file of the CA cannot be read */
export async function openAcmeSession({ directoryUrl, accountKey, eab, ca, clock }: AcmeAccess): Promise<AcmeSession> {
  const acme = await load()
  const state: Calls = { fetch: createBoundedFetch(ca, ANSWER_MS), clock, failure: null }
  const client = new acme.Client({ directoryUrl, accountKey, ...(eab && { externalAccountBinding: eab }) })
  return {
    client,
    crypto: acme.crypto,
    failure: () => state.failure,
    run: (work) =>
      calls.run(state, async () => {
        state.failure = null
        return work().catch((error) => {
          throw error instanceof AcmeFailure ? error : (state.failure ?? new AcmeFailure('failed', causeText(error)))
        })
      }),
  }
}

let loading: Promise<Library> | null = null

function load(): Promise<Library> {
  loading ??= import('acme-client').then((acme) => {
    acme.axios.defaults.adapter = send
    acme.axios.defaults.headers.common['User-Agent'] = `portcullis/${VERSION}`
    return acme
  })
  return loading
}

type Adapter = Exclude<Library['axios']['defaults']['adapter'], undefined | string | unknown[]>
type Request = Parameters<Extract<Adapter, (...args: never[]) => unknown>>[0]

/** In place of the library's HTTP, which would repeat failed calls itself, follow redirects, and lose why a call failed. */
async function send(request: Request) {
  const state = calls.getStore()!
  const { url = '', method = 'get', data } = request
  let response: Response
  let text: string
  try {
    response = await state.fetch(url, { method: method.toUpperCase(), headers: request.headers.toJSON(), body: data })
    text = await response.text()
  } catch (error) {
    state.failure = new AcmeFailure('unreachable', `${new URL(url).origin} cannot be reached: ${causeText(error)}`)
    throw state.failure
  }
  const { status } = response
  state.failure = status < 400 ? null : failureOf(url, status, text, retryAfterOf(response, state.clock))
  return { data: text, status, statusText: '', headers: Object.fromEntries(response.headers), config: request }
}

function failureOf(url: string, status: number, text: string, retryAfterMs: number): AcmeFailure {
  const { type = '', detail = '' } = problemOf(text)
  const name = String(type).replace('urn:ietf:params:acme:error:', '').slice(0, 100)
  const message = `${new URL(url).host} answers ${status}${detail && `: ${String(detail).slice(0, MAX_DETAIL)}`}${name && ` (${name})`}`
  const outcome = status === 429 || name === 'rateLimited' ? 'rate_limited' : status >= 500 ? 'unreachable' : 'refused'
  return new AcmeFailure(outcome, message, { retryAfterMs, type: name })
}

/** RFC 8555 §6.7: errors are problem documents. */
function problemOf(text: string): { type?: unknown; detail?: unknown } {
  try {
    const problem = JSON.parse(text)
    return typeof problem === 'object' && problem !== null ? problem : {}
  } catch {
    return {}
  }
}

/** RFC 9110 §10.2.3: seconds, or a date. */
function retryAfterOf(response: Response, clock: Clock): number {
  const value = response.headers.get('retry-after')
  if (value === null) return 0
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - clock.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : 0
}
