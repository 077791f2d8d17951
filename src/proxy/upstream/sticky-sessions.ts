/**
 * Sticky sessions, for upstreams that keep state: all requests of a client go to the same server. The client is known by a cookie of ours,
 * or by its address. A server that is lost moves only its own clients.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Secrets } from '../../platform/vault/secrets.ts'
import { exchangeOf } from '../routing/exchange.ts'
import { highestScore } from './balancing.ts'
import type { Bulkhead } from './bulkhead.ts'

interface StickyServer {
  /** The same in every process, and when other servers are added or removed. */
  stickyKey: string
  weight: number
  bulkhead: Pick<Bulkhead, 'hasFree'>
}

/** @param i position in the list; a server that is named twice has two keys */
export function stickyKeyOf(servers: readonly { origin: string }[], i: number): string {
  const { origin } = servers[i]!
  return `${origin}|${servers.slice(0, i).filter((s) => s.origin === origin).length}`
}

export interface StickySessions {
  /** Null without a candidate. */
  choose<S extends StickyServer>(candidates: readonly S[], request: IncomingMessage): S | null
}

export interface StickyOptions {
  name: string
  path: string
  by: 'cookie' | 'address'
  secrets: Pick<Secrets, 'keyId' | 'mac' | 'verifyMac' | 'derive'>
}

export const createStickySessions = (options: StickyOptions): StickySessions =>
  options.by === 'address' ? stickByAddress() : stickByCookie(options)

/** Without a key: gateways with different secret keys choose the same server, and so do two routes with the same servers. */
const stickByAddress = (): StickySessions => ({
  choose(candidates, request) {
    const { limitKey } = exchangeOf(request).client
    return highestScore(candidates, ({ stickyKey }) => createHash('sha256').update(`${limitKey}|${stickyKey}`).digest())
  },
})

/** The name of each cookie of ours begins with it; the name of the route follows. */
const COOKIE_PREFIX = 'portcullis-upstream-'
const MAC_PURPOSE = 'sticky sessions'
const SERVER_PURPOSE = 'sticky server'

/** Client id (16 bytes), mark of the server (12 bytes), key id and MAC. */
const VALUE = /^([\w-]{22})([\w-]{16})\.(([0-9a-f]{12})\.[\w-]{43})$/
const MARK_BYTES = 12

/** Cookies of one name whose MAC is computed: a browser sends a second cookie only for another path or domain. */
const MAX_TRIED = 3

/** The content of a cookie. The mark depends on client, route, server and secret key, so it tells nobody which server it is. */
interface Known {
  clientId: string
  mark: string
  keyId: string
}

function stickByCookie({ name, path, secrets }: StickyOptions): StickySessions {
  const cookieName = COOKIE_PREFIX + name
  const attributes = `; Path=${path}; HttpOnly; SameSite=Lax`

  const digestOf = ({ clientId, keyId }: Omit<Known, 'mark'>, { stickyKey }: StickyServer) =>
    secrets.derive(SERVER_PURPOSE, Buffer.from(`${name}|${clientId}|${stickyKey}`), keyId)
  const markOf = (client: Omit<Known, 'mark'>, server: StickyServer) => digestOf(client, server).subarray(-MARK_BYTES).toString('base64url')

  function read(cookies: string | undefined): Known | null {
    if (!cookies?.includes(cookieName)) return null
    let tried = 0
    for (const pair of cookies.split(';')) {
      const [, clientId, mark, mac, keyId] = nameOf(pair) === cookieName ? (VALUE.exec(textOf(pair)) ?? []) : []
      if (mac === undefined || ++tried > MAX_TRIED) continue
      if (secrets.verifyMac(MAC_PURPOSE, `${name}|${clientId}${mark}`, mac)) return { clientId: clientId!, mark: mark!, keyId: keyId! }
    }
    return null
  }

  function cookieFor(clientId: string, server: StickyServer, isSecure: boolean): string {
    const content = clientId + markOf({ clientId, keyId: secrets.keyId }, server)
    return `${cookieName}=${content}.${secrets.mac(MAC_PURPOSE, `${name}|${content}`)}${attributes}${isSecure ? '; Secure' : ''}`
  }

  return {
    choose(candidates, request) {
      const exchange = exchangeOf(request)
      const known = read(request.headers.cookie)
      const marked = known && candidates.find((server) => markOf(known, server) === known.mark)
      if (marked && known.keyId === secrets.keyId) {
        exchange.upstreamCookie = null
        return marked
      }
      const client = known ?? { clientId: randomBytes(16).toString('base64url'), keyId: secrets.keyId }
      // a client that lost its server may send several requests at once: its id leads all of them to the same server
      const free = known ? [] : candidates.filter(({ bulkhead }) => bulkhead.hasFree())
      const chosen = marked ?? highestScore(free.length ? free : candidates, (server) => digestOf(client, server))
      exchange.upstreamCookie = chosen && cookieFor(client.clientId, chosen, exchange.client.isSecure)
      return chosen
    },
  }
}

const nameOf = (pair: string): string => pair.slice(0, Math.max(0, pair.indexOf('='))).trim()
const textOf = (pair: string): string => pair.slice(pair.indexOf('=') + 1).trim()
const isOurs = (pair: string): boolean => pair.trimStart().toLowerCase().startsWith(COOKIE_PREFIX)

/** The value of a Cookie field without our cookies; null when nothing is left. */
export function withoutStickyCookies(value: string): string | null {
  const pairs = value.split(';')
  const left = pairs.filter((pair) => !isOurs(pair))
  if (left.length === pairs.length) return value
  return left.join(';').trim() || null
}

/** Adds our cookie to the fields of a response, where the client needs a new one. Removes cookies of our names that the upstream sets. */
export function writeStickyCookie(fields: string[], request: IncomingMessage): void {
  for (let i = fields.length - 2; i >= 0; i -= 2) if (fields[i] === 'set-cookie' && isOurs(fields[i + 1]!)) fields.splice(i, 2)
  const { upstreamCookie } = exchangeOf(request)
  if (upstreamCookie !== null) fields.push('set-cookie', upstreamCookie)
}
