/** Node's http.request, with connections that are kept. */
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { runClient } from '../lines.ts'

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })

await runClient(async (base, { method, path, headers, body, mode }) => {
  const request = http.request(base + path, { method, agent, headers: Object.fromEntries(headers), timeout: 20_000 })
  if (mode === 'expect') {
    request.setHeader('expect', '100-continue')
    request.setHeader('content-length', body!.length)
    request.flushHeaders()
    request.once('continue', () => request.end(body))
  } else if (mode === 'chunked') {
    request.write(body!.subarray(0, 10))
    request.end(body!.subarray(10))
  } else request.end(body)
  request.once('timeout', () => request.destroy(new Error('timeout')))
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return { status: response.statusCode!, headers: response.rawHeaders, body: Buffer.concat(chunks) }
})
agent.destroy()
