/** Responses that stall, break off or are longer or shorter than they say. */
import { route } from '../../support/config.ts'
import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { atEnd } from '../harness/cleanup.ts'
import { createTally, type FaultRow } from '../harness/fault-row.ts'
import { promiseHealthy } from '../harness/gateways.ts'
import { startLoneGateway } from '../harness/lone-gateway.ts'
import { inParallel, markOf, randomOf } from '../storms/random.ts'
import { marked } from '../storms/upstream.ts'
import { openClient } from '../storms/wire-client.ts'

const SIZE = 200_000
const sized = (length: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`

/** What the upstream sends of a body, and what it does then. `isWhole`: a client may take the answer for whole. */
const KINDS: Record<string, { bytes(body: string, at: number): string; end: 'stalls' | 'resets' | 'closes' | 'stays'; isWhole?: boolean }> =
  {
    'stalls within a length': { bytes: (body, at) => sized(SIZE) + body.slice(0, at), end: 'stalls' },
    'stalls within chunks': { bytes: (body, at) => CHUNKED + chunk(body.slice(0, at)), end: 'stalls' },
    'resets within a length': { bytes: (body, at) => sized(SIZE) + body.slice(0, at), end: 'resets' },
    'resets within chunks': { bytes: (body, at) => CHUNKED + chunk(body.slice(0, at)), end: 'resets' },
    'closes within a length': { bytes: (body, at) => sized(SIZE) + body.slice(0, at), end: 'closes' },
    'closes within chunks': { bytes: (body, at) => CHUNKED + chunk(body.slice(0, at)), end: 'closes' },
    'closes within a chunk': { bytes: (body, at) => `${CHUNKED}${SIZE.toString(16)}\r\n${body.slice(0, at)}`, end: 'closes' },
    'is longer than its length': { bytes: (body, at) => sized(at) + body, end: 'stays', isWhole: true },
    'has a second answer behind it': {
      bytes: (body, at) => `${sized(at)}${body.slice(0, at)}${sized(5)}wrong`,
      end: 'stays',
      isWhole: true,
    },
  }
const NAMES = Object.keys(KINDS)
const IDLE_MS = 1000

function startBrokenUpstream(seed: number): Promise<RawUpstream> {
  return startRawUpstream((socket, request) => {
    const [, kind, mark = '', index = '0'] = /^GET \/(\w+)\/(\w+)\/(\d+)/.exec(request) ?? []
    if (kind === 'good') return void socket.write(sized(mark.length) + mark)
    const { bytes, end } = KINDS[NAMES[Number(index) % NAMES.length]!]!
    const at = 1 + randomOf(seed, Number(index)).below(SIZE - 2)
    socket.write(bytes(marked(mark, SIZE), at), 'latin1', () => {
      if (end === 'resets') socket.resetAndDestroy()
      else if (end === 'closes') socket.end()
    })
  })
}

export const row: FaultRow = {
  id: 'U2',
  fault: 'Responses stall, reset, close early, or lie about their length',
  promise: 'The client sees every truncation, and a connection in doubt is not used again',
  isQuick: true,
  async run({ short, seed }) {
    const tally = createTally()
    const count = short ? 45 : 3600
    const upstream = await startBrokenUpstream(seed)
    atEnd(() => upstream.close())
    const gateway = await startLoneGateway({
      routes: [
        route('/bad', { upstream: [upstream.url], timeouts: { idleMs: IDLE_MS }, breaker: { failures: 0 } }),
        route('/good', { upstream: [upstream.url], breaker: { failures: 0 } }),
      ],
    })
    const get = (kind: string, mark: string, index: number) => `GET /${kind}/${mark}/${index} HTTP/1.1\r\nHost: gateway.test\r\n\r\n`
    const started = performance.now()
    await inParallel(count, 24, async (index) => {
      const name = NAMES[index % NAMES.length]!
      const mark = markOf(index)
      const client = await openClient(gateway.port)
      const answer = await client.ask(get('bad', mark, index))
      client.socket.destroy()
      const isWhole = answer.isWhole && answer.status === 200
      tally.add(isWhole ? 'whole' : answer.isWhole ? String(answer.status) : 'truncated')
      tally.promise(!isWhole || KINDS[name]!.isWhole === true, `${name}: the client took it for whole`)
      const isOwn = marked(mark, SIZE).startsWith(answer.body)
      tally.promise(answer.status !== 200 || isOwn, `${name}: the body has other bytes`)
      const next = await openClient(gateway.port)
      const good = await next.ask(get('good', mark, index))
      next.socket.destroy()
      tally.promise(
        good.status === 200 && good.body === mark,
        `after ${name}: the next request got ${good.status} ${good.body.slice(0, 60)}`,
      )
    })
    const seconds = (performance.now() - started) / 1000
    promiseHealthy(gateway, tally)
    return {
      what: `${count} responses of ${NAMES.length} kinds in ${seconds.toFixed(0)} s, each followed by a request`,
      counts: tally.text(),
      broken: tally.broken,
    }
  },
}
