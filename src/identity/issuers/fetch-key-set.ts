/** Asks an issuer for its key set. */
import { readFileSync } from 'node:fs'
import type { IssuerConfig } from '../../platform/config/schema.ts'
import { createBoundedFetch, type Fetch } from '../../platform/lib/bounded-fetch.ts'
import { isSafeUrl } from '../../platform/lib/safe-url.ts'
import { discoveryOf } from './public-issuers.ts'

/** From the first byte asked to the last byte read. */
const WHOLE_MS = 10_000
const TOKEN = /^[\x21-\x7e]+$/
const CONTENT_TYPE = /^[\w.+-]{1,64}\/[\w.+-]{1,64}$/

/** @returns asks once; rejects with what is wrong, in words without anything that the issuer wrote */
export function createKeySetFetch({ issuer, jwksUri, caFile, tokenFile }: IssuerConfig): () => Promise<unknown> {
  const fetch = createFetchWithFiles(caFile)

  async function readJson(url: string, what: string, expected: string, headers: Record<string, string> = {}): Promise<unknown> {
    const unread = (cause: unknown) => {
      throw new Error(`${what} cannot be read`, { cause })
    }
    const response = await fetch()(url, {
      headers: { accept: 'application/json', ...headers },
      signal: AbortSignal.timeout(WHOLE_MS),
    }).catch(unread)
    const { status } = response
    const [type] = (response.headers.get('content-type') ?? '').split(';', 1)
    const shownType = CONTENT_TYPE.test(type!.trim()) ? type!.trim().toLowerCase() : 'no known content type'
    if (status !== 200 || shownType === 'text/html') {
      await response.body?.cancel()
      if (status >= 300 && status < 400) throw new Error(`${what} answered status ${status}, and redirects are not followed`)
      if (status !== 200) throw new Error(`${what} answered status ${status}, expected ${expected}`)
      throw new Error(`${what} answered ${shownType}, expected ${expected}`)
    }
    const text = await response.text().catch(unread)
    try {
      return JSON.parse(text)
    } catch {
      throw new Error(`${what} answered ${shownType} that is no JSON, expected ${expected}`)
    }
  }

  async function discover(): Promise<string> {
    const expected = discoveryOf(issuer)
    const found = await readJson(expected.url, 'the discovery document', 'JSON (OpenID Connect Discovery)')
    const { issuer: named, jwks_uri } = (found ?? {}) as { issuer?: unknown; jwks_uri?: unknown }
    // OpenID Connect Discovery §4.3
    if (named !== expected.issuer) throw new Error('the discovery document names another issuer')
    if (typeof jwks_uri !== 'string' || !isSafeUrl(jwks_uri)) throw new Error('the discovery document has no jwks_uri with https')
    return jwks_uri
  }

  return async () => {
    const url = jwksUri ?? (await discover())
    const headers: Record<string, string> = tokenFile === undefined ? {} : { authorization: `Bearer ${readToken(tokenFile)}` }
    return readJson(url, 'jwksUri', 'a JSON key set', headers)
  }
}

function readToken(file: string): string {
  const token = readFileSync(file, 'utf8').trim()
  if (!TOKEN.test(token)) throw new Error('tokenFile holds no token')
  return token
}

/** The file of CAs may change: it is read each time, and another content gives another connection. */
function createFetchWithFiles(caFile: string | undefined): () => Fetch {
  if (caFile === undefined) {
    const fetch = createBoundedFetch(undefined)
    return () => fetch
  }
  let last: { content: string; fetch: Fetch } | null = null
  return () => {
    const content = readFileSync(caFile, 'utf8')
    if (last?.content !== content) last = { content, fetch: createBoundedFetch(caFile) }
    return last.fetch
  }
}
