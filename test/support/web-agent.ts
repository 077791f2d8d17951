/**
 * A browser without scripts for journeys over several sites: it keeps cookies by site, follows redirects, and sends Fetch Metadata. It does
 * not judge `SameSite`: that is for tests with a real browser.
 */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'

export interface WebAnswer {
  status: number
  url: URL
  html: string
  headers: IncomingMessage['headers']
  /** The addresses of the redirects on the way, in order. */
  trail: string[]
}

export interface WebAgent {
  /** By site, then by name. */
  cookies: Map<string, Map<string, string>>
  /** Follows redirects. @param until stops before it follows a redirect to such an address */
  open(url: string, until?: (to: URL) => boolean): Promise<WebAnswer>
  /** What a script of a page of the same site reads. */
  read(url: string): Promise<{ status: number; body: any }>
  /** Sends a form, and follows its redirects. */
  post(url: string, fields: Record<string, string>, options?: { isCrossSite?: boolean; until?: (to: URL) => boolean }): Promise<WebAnswer>
}

const MAX_REDIRECTS = 15

/** @param ports the sites that are names, with the ports of their servers on this machine */
export function createWebAgent(ports: Record<string, number>): WebAgent {
  const cookies = new Map<string, Map<string, string>>()
  const jarOf = (site: string) => {
    if (!cookies.has(site)) cookies.set(site, new Map())
    return cookies.get(site)!
  }

  async function request(
    method: string,
    url: URL,
    site: string,
    body: string | null,
    isScript = false,
  ): Promise<IncomingMessage & { text: string }> {
    const port = ports[url.origin] ?? Number(url.port)
    const jar = jarOf(url.origin)
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = {
      host: url.host,
      accept: isScript ? 'application/json' : 'text/html,*/*;q=0.8',
      'accept-language': 'en',
      'sec-fetch-mode': isScript ? 'cors' : 'navigate',
      'sec-fetch-dest': isScript ? 'empty' : 'document',
      'sec-fetch-site': site,
      ...(cookie !== '' && { cookie }),
      ...(body !== null && { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(body) }),
    }
    const sent = http
      .request({ host: '127.0.0.1', port, method, path: url.pathname + url.search, headers, agent: false })
      .end(body ?? undefined)
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    for (const set of response.headers['set-cookie'] ?? []) keep(jar, set)
    return Object.assign(response, { text })
  }

  function keep(jar: Map<string, string>, set: string): void {
    const [pair = ''] = set.split(';')
    const at = pair.indexOf('=')
    if (/; ?max-age=0(?:;|$)/i.test(set) || /expires=Thu, 01 Jan 1970/i.test(set)) jar.delete(pair.slice(0, at))
    else jar.set(pair.slice(0, at), pair.slice(at + 1))
  }

  async function go(method: string, start: URL, body: string | null, site: string, until: (to: URL) => boolean): Promise<WebAnswer> {
    const trail: string[] = []
    let url = start
    let response = await request(method, url, site, body)
    while (response.headers.location !== undefined && response.statusCode! >= 300 && response.statusCode! < 400) {
      const next = new URL(response.headers.location, url)
      trail.push(next.href)
      if (until(next) || trail.length > MAX_REDIRECTS) break
      const isSame = next.origin === url.origin && site === 'same-origin'
      site = isSame ? 'same-origin' : 'cross-site'
      url = next
      response = await request('GET', url, site, null)
    }
    return { status: response.statusCode!, url, html: response.text, headers: response.headers, trail }
  }

  return {
    cookies,
    async read(url) {
      const { statusCode, text } = await request('GET', new URL(url), 'same-origin', null, true)
      return { status: statusCode!, body: JSON.parse(text) }
    },
    open: (url, until = () => false) => go('GET', new URL(url), null, 'none', until),
    post: (url, fields, { isCrossSite = false, until = () => false } = {}) =>
      go('POST', new URL(url), new URLSearchParams(fields).toString(), isCrossSite ? 'cross-site' : 'same-origin', until),
  }
}
