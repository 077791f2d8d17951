/** Node's fetch. */
import { runClient } from '../lines.ts'

await runClient(async (base, { method, path, headers, body, mode }) => {
  if (mode === 'expect') return 'fetch cannot expect 100'
  const isChunked = mode === 'chunked'
  const response = await fetch(base + path, {
    method,
    headers,
    redirect: 'manual',
    ...(body && { body: isChunked ? new Blob([new Uint8Array(body)]).stream() : new Uint8Array(body) }),
    ...(isChunked && { duplex: 'half' }),
    signal: AbortSignal.timeout(20_000),
  } as RequestInit)
  return { status: response.status, headers: [...response.headers].flat(), body: Buffer.from(await response.arrayBuffer()) }
})
