/** A real upstream on loopback that keeps the requests it received. */
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Seen {
  method: string
  url: string
  /** In the order received: [name, value][] */
  rawHeaders: [string, string][]
  headers: IncomingMessage['headers']
  body: string
}

export interface Upstream {
  url: string
  port: number
  /** The requests since the last call. */
  take(): Seen[]
  server: http.Server
  close(): Promise<void>
}

/** Answers each request with JSON about it, unless `handler` takes it over (by returning true). */
export async function startUpstream(
  handler?: (req: IncomingMessage, res: ServerResponse) => boolean | Promise<boolean>,
): Promise<Upstream> {
  let seen: Seen[] = []
  const echo: RequestListener = async (req, res) => {
    if (await handler?.(req, res)) return
    let body = ''
    for await (const chunk of req.setEncoding('utf8')) body += chunk
    const rawHeaders = Array.from(
      { length: req.rawHeaders.length / 2 },
      (_, i) => [req.rawHeaders[2 * i]!, req.rawHeaders[2 * i + 1]!] as [string, string],
    )
    seen.push({ method: req.method!, url: req.url!, rawHeaders, headers: req.headers, body })
    res
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, body }))
  }
  const server = http.createServer((req, res) => void Promise.resolve(echo(req, res)).catch(() => res.destroy()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    server,
    take() {
      const taken = seen
      seen = []
      return taken
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
