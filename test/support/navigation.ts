/** Requests as a browser sends them when a person opens a page. `fetch` would write its own Fetch Metadata. */
import { once } from 'node:events'
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http'

export interface Shown {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

export const TOP = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none', accept: 'text/html,*/*;q=0.8' }
export const FRAME = { ...TOP, 'sec-fetch-dest': 'iframe', 'sec-fetch-site': 'same-origin' }
/** A browser that sends no Fetch Metadata, as over plain http. */
export const OLD = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }

export interface Opening {
  method?: string
  headers?: Record<string, string>
  body?: string
}

/** Never follows a redirect. */
export async function open(gateway: { url: string }, path: string, { method = 'GET', headers = TOP, body }: Opening = {}): Promise<Shown> {
  const request = http.request(gateway.url, { method, path, headers: { host: 'gateway.test', ...headers }, agent: false }).end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return { status: response.statusCode!, headers: response.headers, body: text }
}
