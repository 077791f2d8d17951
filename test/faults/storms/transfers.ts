/** Streams through the gateway, of which both ends know the hash. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { hashOf, into, pieces } from './upstream.ts'

/** The upstream's stream to a client. */
export async function down(port: number, bytes: number): Promise<boolean> {
  const [answer] = (await once(http.get({ port, path: `/down?bytes=${bytes}`, agent: false }), 'response')) as [IncomingMessage]
  const hash = createHash('sha256')
  await pipeline(answer, into(hash))
  return hash.digest('hex') === hashOf(bytes)
}

/** A client's stream to the upstream, which answers with the hash of what came. */
export async function up(port: number, bytes: number): Promise<boolean> {
  const request = http.request({ port, path: '/up', method: 'POST', agent: false })
  const [[answer]] = (await Promise.all([once(request, 'response'), pipeline(pieces(bytes), request)])) as unknown as [[IncomingMessage]]
  let text = ''
  for await (const chunk of answer.setEncoding('latin1')) text += chunk
  return text === hashOf(bytes)
}
