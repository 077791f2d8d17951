/** One order (RFC 8555 §7.4): proves the names, and fetches a certificate with a new key. */
import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Authorization, Order } from 'acme-client'
import type { AcmeChallengeTable } from '../db/tables.ts'
import { type AcmeAccess, AcmeFailure, type AcmeSession, openAcmeSession } from './acme-client.ts'
import type { AcmeSettings } from './acme-settings.ts'

type Kind = AcmeChallengeTable['kind']

/** A challenge that is to be answered. */
export interface OpenChallenge extends Pick<AcmeChallengeTable, 'token' | 'kind' | 'domain' | 'key_authorization'> {
  /** Of tls-alpn-01: the certificate, followed by its private key. PEM. */
  certificate: string | null
}

export interface OrderRequest {
  access: AcmeAccess
  domains: readonly string[]
  email: AcmeSettings['email']
  /** The preferred first. */
  kinds: readonly Kind[]
  /** Resolves when every gateway answers these challenges. */
  publish(challenges: readonly OpenChallenge[]): Promise<void>
  signal: AbortSignal
}

/** PEM. */
export interface Ordered {
  chain: string
  key: string
}

const FIRST_POLL_MS = 250
const LONGEST_POLL_MS = 5000
/** A server that has not judged by then has a fault. */
const POLLS = 40

/** @throws AcmeFailure; the reason of `signal` when it is aborted */
export async function orderCertificate({ access, domains, email, kinds, publish, signal }: OrderRequest): Promise<Ordered> {
  const session = await openAcmeSession(access)
  const { client } = session
  return session.run(async () => {
    await openAccount(session, email)
    let order = await client.createOrder({ identifiers: domains.map((value) => ({ type: 'dns', value })) })
    await prove(session, order, kinds, publish, signal)
    order = await poll(() => client.getOrder(order), isDecided, signal)
    assertStatus(order, 'ready')
    const key = newKey()
    const [, request] = await session.crypto.createCsr({ altNames: [...domains] }, key)
    const { url } = order
    order = { ...(await client.finalizeOrder(order, request)), url }
    if (order.status !== 'valid') order = await poll(() => client.getOrder(order), isDecided, signal)
    assertStatus(order, 'valid')
    return { chain: await client.getCertificate(order), key }
  })
}

/** The account of this key, or a new one. The library would send an update that changes nothing, which servers may refuse (RFC 8555 §7.3.2). */
async function openAccount({ client, failure }: AcmeSession, email: OrderRequest['email']): Promise<void> {
  const contact = email === undefined ? [] : [`mailto:${email}`]
  const account = await client.createAccount({ onlyReturnExisting: true }).catch((error) => {
    if (failure()?.type === 'accountDoesNotExist') return null
    throw error
  })
  if (account === null) await client.createAccount({ termsOfServiceAgreed: true, ...(contact.length && { contact }) })
  else if (contact.join() !== (account.contact ?? []).join()) await client.updateAccount({ contact })
}

/** P-256: small, quick, and understood by every client. */
export const newKey = (): string =>
  generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  }).privateKey

const isDecided = ({ status }: Order) => status !== 'pending' && status !== 'processing'

function assertStatus({ status, error }: Order, wanted: Order['status']): void {
  if (status !== wanted) throw new AcmeFailure('refused', `the order is ${status}${detailOf(error)}`)
}

/** Names that were proven before need no challenge. */
async function prove(
  session: AcmeSession,
  order: Order,
  kinds: readonly Kind[],
  publish: OrderRequest['publish'],
  signal: AbortSignal,
): Promise<void> {
  const { client } = session
  const open = (await client.getAuthorizations(order)).filter(({ status }) => status === 'pending')
  if (open.length === 0) return
  const chosen = open.map((authorization) => choose(authorization, kinds))
  await publish(await Promise.all(open.map((authorization, i) => answerOf(session, authorization, chosen[i]!))))
  signal.throwIfAborted()
  for (const challenge of chosen) await client.completeChallenge(challenge as Parameters<typeof client.completeChallenge>[0])
  const judged = await poll(
    () => client.getAuthorizations(order),
    (all) => all.every(({ status }) => status !== 'pending'),
    signal,
  )
  const refused = judged.filter(({ status }) => status !== 'valid')
  if (refused.length > 0) throw new AcmeFailure('refused', refused.map(reasonOf).join('; '))
}

interface Challenge {
  type: string
  url: string
  token: string
  error?: object
}

function choose({ identifier, challenges }: Authorization, kinds: readonly Kind[]): Challenge & { type: Kind } {
  const offered = challenges as unknown as Challenge[]
  for (const kind of kinds) {
    const challenge = offered.find(({ type, token }) => type === kind && TOKEN.test(token))
    if (challenge) return { ...challenge, type: kind }
  }
  throw new AcmeFailure('refused', `for ${identifier.value} the server offers only ${offered.map(({ type }) => type).join(', ')}`)
}

/** RFC 8555 §8.3: at least 128 bits in base64url. */
const TOKEN = /^[A-Za-z0-9_-]{22,128}$/

async function answerOf({ client, crypto }: AcmeSession, authorization: Authorization, challenge: Challenge & { type: Kind }) {
  const { token, type } = challenge
  const key_authorization = await client.getChallengeKeyAuthorization(
    challenge as Parameters<typeof client.getChallengeKeyAuthorization>[0],
  )
  const domain = authorization.identifier.value.toLowerCase()
  if (type === 'http-01') return { token, kind: type, domain, key_authorization, certificate: null }
  const key = newKey()
  const [, certificate] = await crypto.createAlpnCertificate(authorization, key_authorization, key)
  return { token, kind: type, domain, key_authorization, certificate: `${certificate}\n${key}` }
}

function reasonOf({ identifier, status, challenges }: Authorization): string {
  const failed = (challenges as unknown as Challenge[]).find(({ error }) => error !== undefined)
  return `${identifier.value} is ${status}${failed ? ` by ${failed.type}${detailOf(failed.error)}` : ''}`
}

function detailOf(error: object | undefined): string {
  const { detail, type } = (error ?? {}) as { detail?: unknown; type?: unknown }
  if (detail === undefined && type === undefined) return ''
  return `: ${String(detail ?? '').slice(0, 300)} (${String(type ?? 'no type').slice(0, 100)})`
}

/** @throws AcmeFailure when the server takes too long */
async function poll<T>(read: () => Promise<T>, isDone: (value: T) => boolean, signal: AbortSignal): Promise<T> {
  for (let i = 0, waitMs = FIRST_POLL_MS; i < POLLS; i++, waitMs = Math.min(LONGEST_POLL_MS, waitMs * 2)) {
    const value = await read()
    if (isDone(value)) return value
    await pause(waitMs, undefined, { signal, ref: false })
  }
  throw new AcmeFailure('unreachable', 'the server has not decided in time')
}
