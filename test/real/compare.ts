/** Compares what a client gets through the gateway with what it gets directly, less what the gateway documents that it changes. */
import type { Exchanged } from './lines.ts'

/** Fields of one connection (RFC 9110 §7.6.1, RFC 9112 §6.1), and fields that change with each response. */
const OWN_OF_RESPONSE = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date', 'x-request-id'])
/** They follow from a body that names the headers of the request. */
const OWN_OF_BODY = new Set(['content-length', 'etag'])
/** docs/routing.md, "What your API gets"; and fields of one connection. */
const OWN_OF_REQUEST =
  /^(connection|keep-alive|host|transfer-encoding|content-length|expect|upgrade|http2-settings|te|via|traceparent|x-request-id|x-forwarded-\w+)$/

export interface Comparison {
  equal: number
  /** Exchanges that were not compared, with the reason. */
  skipped: string[]
  /** What differs, in words. */
  differences: string[]
}

/** @param origin of the upstream, which the gateway removes from locations */
export function compare(direct: Map<string, Exchanged>, proxied: Map<string, Exchanged>, origin: string): Comparison {
  const result: Comparison = { equal: 0, skipped: [], differences: [] }
  for (const [name, expected] of direct) {
    const actual = proxied.get(name)
    if (expected.outcome === 'skip') result.skipped.push(`${name}: ${expected.body}`)
    else if (expected.outcome === 'error') result.skipped.push(`${name}: fails directly, too: ${expected.body}`)
    else {
      const found = actual ? differencesOf(expected, actual, origin) : ['no result through the gateway']
      if (found.length) result.differences.push(...found.map((text) => `${name}: ${text}`))
      else result.equal++
    }
  }
  if (direct.size === 0) result.differences.push('the client printed nothing')
  return result
}

function differencesOf(direct: Exchanged, proxied: Exchanged, origin: string): string[] {
  if (proxied.outcome === 'error') return [`directly ${direct.outcome}, through the gateway: ${proxied.body}`]
  const found: string[] = []
  if (direct.outcome !== proxied.outcome) found.push(`status ${direct.outcome} directly, ${proxied.outcome} through the gateway`)
  const names = new Set([...direct.headers, ...proxied.headers].map(([name]) => name))
  const isAboutRequest = isSeen(direct.body)
  for (const name of names) {
    // RFC 9110 §8.6: a 204 has no Content-Length, and the gateway removes it
    if (name === 'content-length' && direct.outcome === '204') continue
    if (OWN_OF_RESPONSE.has(name) || (isAboutRequest && OWN_OF_BODY.has(name))) continue
    const values = valuesOf(direct, name)
    const [before, after] = [name === 'location' ? values.replace(origin, '') : values, valuesOf(proxied, name)]
    if (before !== after) found.push(`${name} is ${before} directly, ${after} through the gateway`)
  }
  const [before, after] = [textOf(direct.body), textOf(proxied.body)]
  if (before !== after) found.push(`the body is ${shown(before)} directly, ${shown(after)} through the gateway`)
  return found
}

const valuesOf = ({ headers }: Exchanged, name: string): string => {
  const values = headers.filter(([n]) => n === name).map(([, value]) => value)
  return values.length ? JSON.stringify(values) : 'absent'
}

const isSeen = (body: Buffer) => body[0] === 123 && body.includes('"headers"')

/** A body in which the upstream says what it saw is compared less the fields of the request that the gateway changes. */
function textOf(body: Buffer): string {
  const text = body.toString('latin1')
  if (!isSeen(body)) return text
  const seen = JSON.parse(text) as { headers: Record<string, string> }
  const kept = Object.entries(seen.headers).filter(([name, value]) => !OWN_OF_REQUEST.test(name) && value !== '')
  return JSON.stringify({ ...seen, headers: Object.fromEntries(kept.sort()) })
}

const shown = (text: string) => (text.length > 600 ? `${JSON.stringify(text.slice(0, 600))}… (${text.length} bytes)` : JSON.stringify(text))
