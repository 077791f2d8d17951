/**
 * Decides which responses of upstreams are compressed here, by route. A response that the rules leave out passes unchanged. Routes without
 * `compress` know nothing of it.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import compressible from 'compressible'
import Negotiator from 'negotiator'
import { memoize } from '../../platform/lib/memoize.ts'
import type { Metrics } from '../../platform/telemetry/metrics.ts'
import type { Route } from '../routing/route-table.ts'
import { CODINGS, type Coder, type Coding, openCoder } from './compression-coder.ts'
import { holdsTag, noteTag, restoreTags, type TagKinds, weakened } from './compression-tags.ts'
import { type ResponseHead, removeField } from './headers.ts'

/** Null for a route without compression. */
export type CompressionOf = (route: Route) => RouteCompression | null

export interface RouteCompression {
  /** Gives the upstream its own entity tags back. Changes the fields of the request to the upstream in place. */
  restoreTags(fields: string[], request: IncomingMessage): void
  /**
   * Changes the fields of the head in place. @param isStream the response has no end of its own
   * @returns null when no body is to be compressed
   */
  begin(request: IncomingMessage, response: ServerResponse, status: number, head: ResponseHead, isStream: boolean): Coder | null
}

export interface CompressionDeps {
  routes: readonly Route[]
  metrics: Metrics
  /** Of this process. */
  load: CompressionLoad
}

/** Responses that are being compressed. */
export interface CompressionLoad {
  open: number
}

/** Below, the header fields that compression adds weigh about as much as it saves. */
const SMALL_BYTES = 1024

/** In one process. Each takes up to 1.2 MB; further responses pass uncompressed. */
export const MAX_OPEN = 100

export function createCompression({ routes, metrics, load }: CompressionDeps): CompressionOf {
  const compressing = routes.filter(({ compress }) => compress !== null)
  const kindsOf = memoize((_route: Route): TagKinds => ({ strong: false, weak: false }))
  const byRoute = new Map<Route, RouteCompression>()
  const closed = () => {
    load.open--
  }
  for (const route of routes) {
    // the tags of a route for GET come back on the route for PUT
    const source = compressing.find((r) => r === route) ?? compressing.find((r) => sharesUpstream(r, route))
    if (source) byRoute.set(route, createRouteCompression(route, kindsOf(source)))
  }
  metrics.compressing.collectFrom(() => load.open)

  function createRouteCompression({ name, compress }: Route, kinds: TagKinds): RouteCompression {
    return {
      restoreTags(fields, { headers }) {
        // a range of the uncompressed bytes must not continue compressed ones: the weak tag fails there, as it should
        if (headers.range !== undefined) return
        for (let i = 0; i < fields.length; i += 2)
          if (fields[i] === 'if-match' || fields[i] === 'if-none-match') fields[i + 1] = restoreTags(fields[i + 1]!, kinds)
      },
      begin(request, response, status, head, isStream) {
        const { fields, length, contentType } = head
        const tagAt = valueIndex(fields, 'etag')
        if (tagAt > 0) noteTag(kinds, fields[tagAt]!)
        if (compress === null) return null
        if (status === 304) {
          // RFC 9110 §15.4.5: the fields that a 200 would have
          if (tagAt > 0 && holdsTag(request.headers['if-none-match'] ?? '', weakened(fields[tagAt]!)))
            fields[tagAt] = weakened(fields[tagAt]!)
          addVary(fields)
          return null
        }
        if (isStream || !isCompressible(contentType)) return null
        // of the uncompressed form, too: a cache must not give it the place of the other
        addVary(fields)
        if (BODILESS.has(status) || (length !== null && length < SMALL_BYTES) || mustStay(fields)) return null
        if (!compress.withCredentials && hasCredentials(request.headers)) return null
        const coding = codingFor(request.headers['accept-encoding'] ?? '')
        if (coding === null || load.open >= MAX_OPEN) return null
        if (tagAt > 0) fields[tagAt] = weakened(fields[tagAt]!)
        for (const field of ['content-length', 'accept-ranges']) removeField(fields, field)
        fields.push('content-encoding', coding)
        if (request.method === 'HEAD') return null
        const coder = openCoder(coding, response, closed)
        load.open++
        metrics.compressedResponses.inc({ route: name, coding })
        return coder
      },
    }
  }

  return byRoute.size === 0 ? () => null : (route) => byRoute.get(route) ?? null
}

function sharesUpstream(a: Route, b: Route): boolean {
  return a.servers.some(({ origin }) => b.servers.some((s) => s.origin === origin))
}

/** Without content, or with a part of it only: a range counts bytes of the uncompressed form (RFC 9110 §14.1). */
const BODILESS = new Set([204, 205, 206])

/** Fields that say of the body what would not hold any more: its coding, its range, its digest (RFC 9530). */
const DESCRIBES_BYTES = new Set(['content-encoding', 'content-range', 'content-digest', 'repr-digest', 'digest', 'content-md5'])
/** RFC 9111 §5.2.2.6 forbids any change. A response that may not be stored often holds secrets, which compression may reveal. */
const UNTOUCHABLE = /(^|[\s,])no-(transform|store)(?=$|[\s,;])/i

function mustStay(fields: readonly string[]): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    if (DESCRIBES_BYTES.has(fields[i]!)) return true
    if (fields[i] === 'cache-control' && UNTOUCHABLE.test(fields[i + 1]!)) return true
  }
  return false
}

/** BREACH: a page of an attacker can make a browser send these, and the length of the answer then reveals its secrets. */
const hasCredentials = (headers: IncomingHttpHeaders): boolean =>
  headers.cookie !== undefined || headers.authorization !== undefined || headers['x-api-key'] !== undefined

const NAMES_CODING = /(^|[\s,])(\*|accept-encoding)(?=$|[\s,])/i

function addVary(fields: string[]): void {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === 'vary' && NAMES_CODING.test(fields[i + 1]!)) return
  fields.push('vary', 'Accept-Encoding')
}

/** The place of the value; 0 without the field. */
const valueIndex = (fields: readonly string[], name: string): number => {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return i + 1
  return 0
}

const MAX_REMEMBERED = 200
/** Longer values are not remembered, because clients choose them. */
const MAX_KEY = 100

/** Short values are memoized: clients and upstreams send few different ones. */
function memoizeShort<V>(make: (text: string) => V): (text: string) => V {
  const known = memoize(make, MAX_REMEMBERED)
  return (text) => (text.length > MAX_KEY ? make(text) : known(text))
}

/** An event stream is never held back, even if its length is known. */
const isCompressible = memoizeShort((type) => compressible(type) === true && !/^text\/event-stream\b/i.test(type))

/** Of negotiator 1.0; its types do not know the second parameter yet. */
interface Negotiation {
  encoding(available: readonly string[], options: { preferred: readonly string[] }): string | undefined
}

/** Null when the client accepts no coding of ours, or prefers none (RFC 9110 §12.5.3). */
const codingFor = memoizeShort((accepted): Coding | null => {
  const known = [...CODINGS, 'identity']
  const negotiation: Negotiation = new Negotiator({ headers: { 'accept-encoding': accepted } })
  const best = negotiation.encoding(known, { preferred: known })
  return CODINGS.find((coding) => coding === best) ?? null
})
