/** Answers `/` where no route takes it: what this server is, and where its parts are. */
import type { Config } from '../platform/config/schema.ts'
import { setFields } from '../platform/http/fields.ts'
import type { AnswerRoot } from '../proxy/pipeline.ts'
import { ANSWERED } from '../proxy/stages.ts'

const SUMMARY = 'Portcullis: a gateway in front of APIs. No route leads to this path.'

export function createRootPage({ auth: { prefix, registration }, docs }: Config): AnswerRoot {
  const links: Record<string, string> = {
    ...(docs.enabled && { docs: `${prefix}/docs`, openapi: `${prefix}/openapi.json` }),
    health: '/health',
    login: `${prefix}/login`,
    ...(registration === 'open' && { register: `${prefix}/register` }),
    keys: '/.well-known/jwks.json',
  }
  const json = JSON.stringify({ summary: SUMMARY, links })
  const html = pageOf(links)
  return (exchange, { request: { method, headers, raw }, reply }) => {
    // a request with a body or an upgrade is answered as on any path without a route
    if ((method !== 'GET' && method !== 'HEAD') || exchange.isUpgrade || !isWithoutBody(raw.headers)) return undefined
    exchange.label = 'root'
    const isHtml = /\btext\/html\b/i.test(headers.accept ?? '')
    setFields(reply, exchange.fields)
      .headers({
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        vary: 'Accept',
      })
      .type(isHtml ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8')
      .send(isHtml ? html : json)
    return ANSWERED
  }
}

const isWithoutBody = (headers: Record<string, unknown>) => !('transfer-encoding' in headers) && !Number(headers['content-length'] ?? 0)

/** Only GET endpoints become links. The prefix has no character that HTML reads as markup. */
function pageOf(links: Record<string, string>): string {
  const isPost = (name: string) => name === 'login' || name === 'register'
  const items = Object.entries(links).map(
    ([name, path]) => `<li>${name}: ${isPost(name) ? `POST <code>${path}</code>` : `<a href="${path}">${path}</a>`}</li>`,
  )
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Portcullis</title></head>
<body><h1>Portcullis</h1><p>${SUMMARY}</p><ul>
${items.join('\n')}
</ul></body></html>
`
}
