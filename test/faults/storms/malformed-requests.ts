/** Requests as no client should write them. Each is made from a seed and its number alone: what one did can be seen again. */
import net from 'node:net'
import { inParallel, markOf, type Random, randomOf, strangers } from './random.ts'

export interface RequestStorm {
  port: number
  count: number
  /** Connections at a time. */
  width: number
  seed: number
}

export interface RequestStormResult {
  sent: number
  /** Connections on which an answer came. */
  answered: number
  statuses: Map<number, number>
  /** What must stay empty: connections that the gateway left open, answers of 500, and another's bytes. */
  broken: string[]
}

/** What one connection carries, and how the client ends it. */
export interface MalformedRequest {
  kind: string
  bytes: string
  end: 'waits' | 'half-closes' | 'resets'
  /** It is written in two pieces. */
  splitAt: number
}

const HOST = 'Host: gateway.test'
const LOGIN = '{"login":"nobody","password":"correct horse battery"}'
const message = (line: string, fields: string[], body = '') => `${[line, ...fields].join('\r\n')}\r\n\r\n${body}`
const post = (target: string, body: string, ...fields: string[]) =>
  message(`POST ${target} HTTP/1.1`, [HOST, ...fields, `Content-Length: ${body.length}`], body)
const chunkedPost = (chunks: string, ...fields: string[]) =>
  message('POST /echo HTTP/1.1', [HOST, 'Transfer-Encoding: chunked', ...fields], chunks)

/** Nothing is wrong with these, until a byte is changed. */
const VALID: ((mark: string) => string)[] = [
  (mark) => message(`GET /echo/${mark}?a=b HTTP/1.1`, [HOST, 'Accept: */*', 'Cookie: a=b; c=d', `X-Mark: ${mark}`]),
  (mark) => message(`HEAD /echo/${mark} HTTP/1.1`, [HOST, 'Connection: close']),
  (mark) => message(`GET /echo/${mark} HTTP/1.0`, [HOST]),
  (mark) => post(`/echo/${mark}`, `{"mark":"${mark}"}`, 'Content-Type: application/json'),
  (mark) => post(`/echo/${mark}`, mark.repeat(20), 'Expect: 100-continue'),
  (mark) => chunkedPost(`d;a=b\r\n${mark.padEnd(13).slice(0, 13)}\r\n0\r\nX-After: ${mark}\r\n\r\n`, 'Trailer: X-After'),
  (mark) => post('/auth/login', LOGIN, 'Content-Type: application/json', `X-Mark: ${mark}`),
  (mark) => post('/auth/refresh', '{"refresh_token":"aaaa.bbbb"}', 'Content-Type: application/json', `X-Mark: ${mark}`),
  (mark) => message('GET /auth/me HTTP/1.1', [HOST, 'Authorization: Bearer eyJhbGciOiJub25lIn0.e30.', `X-Request-Id: ${mark}`]),
  (mark) => message(`OPTIONS /echo/${mark} HTTP/1.1`, [HOST, 'Origin: http://a.test', 'Access-Control-Request-Method: PUT']),
  (mark) => message(`GET /echo/${mark} HTTP/1.1`, [HOST]) + message(`GET /echo/${mark}/2 HTTP/1.1`, [HOST]),
  (mark) => upgrade(mark),
]
const upgrade = (mark: string, fields = ['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==']) =>
  message(`GET /ws/${mark} HTTP/1.1`, [HOST, 'Connection: Upgrade', 'Upgrade: websocket', ...fields])

/** What parsers stumble over. */
const PIECES = [
  ...[
    '\0',
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\n\n',
    '\t',
    ' ',
    ':',
    ': ',
    ';',
    ',',
    '\x7f',
    '\xff\xfe',
    '\x0b',
    '%00',
    '%zz',
    '%2e%2e%2f',
    '/../',
  ],
  ...['Content-Length: 5\r\n', 'Content-Length: -1\r\n', 'Content-Length: 99999999999999999999\r\n', 'Transfer-Encoding: chunked\r\n'],
  ...[
    'Transfer-Encoding: gzip, chunked\r\n',
    'Connection: close\r\n',
    'Connection: upgrade\r\n',
    'Upgrade: websocket\r\n',
    'Upgrade: h2c\r\n',
  ],
  ...[
    'Expect: 100-continue\r\n',
    'Host: b\r\n',
    'Authorization: Bearer x\r\n',
    'ffffffffffffffff\r\n',
    '0\r\n\r\n',
    ' HTTP/1.1\r\n',
    'GET / HTTP/1.1\r\n',
  ],
  'a'.repeat(17_000),
]

/** Changes a text at a few places. */
function mutate(text: string, r: Random): string {
  let out = text
  for (let n = 1 + r.below(4); n > 0; n--) {
    const at = r.below(out.length + 1)
    const length = r.below(12)
    const change: (() => string)[] = [
      () => out.slice(0, at) + r.bytes(1) + out.slice(at + 1),
      () => out.slice(0, at) + out.slice(at + length),
      () => out.slice(0, at) + r.pick(PIECES) + out.slice(at),
      () => out.slice(0, at) + out.slice(at, at + length).repeat(2) + out.slice(at + length),
      () => out.slice(0, at) + r.bytes(length) + out.slice(at),
      () => out.slice(0, at) + r.pick(VALID)('m0x00000000').slice(r.below(60)),
    ]
    out = r.pick(change)()
  }
  return out
}

/** By name: each makes one request of its kind. */
const KINDS: Record<string, (r: Random, mark: string) => string> = {
  mutated: (r, mark) => mutate(r.pick(VALID)(mark), r),
  'mutated further': (r, mark) => mutate(mutate(r.pick(VALID)(mark), r), r),
  'half a request': (r, mark) => {
    const whole = r.pick(VALID)(mark)
    return whole.slice(0, r.below(whole.length))
  },
  'random bytes': (r) => r.bytes(1 + r.below(2000)),
  'a request line': (r, mark) =>
    message(
      r.pick([
        ...[
          'GET',
          'GET  / HTTP/1.1',
          'GET / HTTP/1.1 x',
          'GET / HTTP/9.9',
          'GET / http/1.1',
          '/ GET HTTP/1.1',
          'G\0T / HTTP/1.1',
          ' GET / HTTP/1.1',
        ],
        ...[
          'PRI * HTTP/2.0',
          `TRACE /echo/${mark} HTTP/1.1`,
          'CONNECT a.test:80 HTTP/1.1',
          'CONNECT / HTTP/1.1',
          'GET / HTTP/1.1\r',
          '\r\n\r\nGET / HTTP/1.1',
        ],
        ...[
          `GET /${'a'.repeat(9000)} HTTP/1.1`,
          `${'A'.repeat(9000)} / HTTP/1.1`,
          'M-SEARCH * HTTP/1.1',
          'GET / RTSP/1.0',
          'SOURCE /a ICE/1.0',
        ],
      ]),
      [HOST],
    ),
  'a target': (r, mark) =>
    message(
      `GET ${r.pick(['*', '//', 'http://a.test/', 'a.test:80', '/%', '/%zz', '/%00', '/\0', '/a b', '/..', '/echo/../..', '/echo;/x', '/echo%2f..%2f', '\\', '/\\..', '/#x', '?', '', '/%c0%ae', '/\xc3\xa4', '/%25%32%65', '/echo//'])}${r.pick(['', mark, '?', '#', `?${'a&'.repeat(r.below(3000))}`])} HTTP/1.1`,
      [HOST],
    ),
  'a header': (r, mark) =>
    message(`GET /echo/${mark} HTTP/1.1`, [
      r.pick([
        HOST,
        '',
        'Host:',
        'Host: a b',
        'Host: a/b',
        'Host: a@b',
        'Host: a, b',
        'Host: [::1',
        'HOST: a\r\nhost: b',
        ' Host: a',
        'Host : a',
        'Host: \xff',
        'Host: a:99999',
      ]),
      r.pick([
        'X',
        ': x',
        'X : y',
        'X\0: y',
        'X: \0',
        'X: a\rY: b',
        'X: a\nY: b',
        ' folded: x',
        'X: a\r\n b',
        'X\x80: y',
        'X: \x7f',
        '\r',
        `X: ${'b'.repeat(r.below(20_000))}`,
        'Authorization: a\r\nAuthorization: b',
        'Authorization: Bearer \xff\xff',
        `Cookie: ${'a=b; '.repeat(r.below(3000))}`,
      ]),
    ]),
  'many headers': (r, mark) =>
    message(`GET /echo/${mark} HTTP/1.1`, [HOST, ...Array.from({ length: r.below(3000) }, (_, i) => `a${i.toString(36)}:`)]),
  framing: (r, mark) =>
    message(
      `POST /echo/${mark} HTTP/1.1`,
      [
        HOST,
        ...Array.from({ length: 1 + r.below(2) }, () =>
          r.pick([
            'Content-Length: 5',
            'Content-Length: 6',
            'Content-Length: +5',
            'Content-Length: 5, 5',
            'Content-Length: 0x5',
            'Content-Length: ',
            'Content-Length: 1e1',
            'Content-Length: -5',
            'Content-Length: 99999999999999999999',
            'Content-Length: 2000000',
            'Transfer-Encoding: chunked',
            'Transfer-Encoding: chunked, chunked',
            'Transfer-Encoding: chunked, gzip',
            'Transfer-Encoding: xchunked',
            'Transfer-Encoding:\x0bchunked',
            'Transfer-Encoding: identity',
            'Transfer-Encoding : chunked',
            'Transfer-Encoding\r\n : chunked',
            'Content_Length: 5',
          ]),
        ),
      ],
      r.pick(['hello', '5\r\nhello\r\n0\r\n\r\n', '0\r\n\r\nGET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n', '', 'x'.repeat(100_000)]),
    ),
  chunks: (r, mark) =>
    chunkedPost(
      `5\r\nhello\r\n${r.pick(['zz\r\nx\r\n', '-1\r\nx\r\n', 'fffffffffffffffff\r\nx', '5\nhello\r\n', '5\r\nhello!\r\n', '5 \r\nhello\r\n', '0x5\r\nhello\r\n', `5;${'a'.repeat(r.below(40_000))}\r\nhello\r\n`, '5;a="\r\n\r\nhello\r\n', '\r\n', '5', '5\r\nhel', '0\r\nX: \0\r\n\r\n', '0\r\nX\r\n\r\n', `0\r\n${'X: y\r\n'.repeat(r.below(5000))}\r\n`, '0\r\n: \r\n', '\0'])}${r.pick(['', '0\r\n\r\n', `0\r\n\r\n${message(`GET /echo/${mark} HTTP/1.1`, [HOST])}`])}`,
    ),
  'an upgrade': (r, mark) =>
    `${upgrade(mark, [
      r.pick(['', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Version: 8', 'Sec-WebSocket-Version: \xff']),
      r.pick(['', 'Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b']),
      r.pick([
        'X: y',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABkAAQAAP__',
        'Content-Length: 5',
        'Transfer-Encoding: chunked',
        'Expect: 100-continue',
        'Sec-WebSocket-Extensions: \x01',
      ]),
    ])}${r.pick(['', r.bytes(r.below(300)), '\x88\x80\0\0\0\0', '\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff', 'GET / HTTP/1.1\r\n\r\n'])}`,
  'our own endpoints': (r, mark) =>
    post(
      r.pick([
        '/auth/login',
        '/auth/register',
        '/auth/refresh',
        '/auth/logout',
        '/auth/me',
        '/auth/nothing',
        '/health',
        '/.well-known/jwks.json',
      ]),
      r.pick([
        '',
        '{',
        'null',
        '[]',
        '"x"',
        '{"login":1}',
        `{"login":"${'a'.repeat(r.below(20_000))}"}`,
        '{"__proto__":{"a":1},"login":"a","password":"b"}',
        '[['.repeat(5000),
        '\0',
        '{"a":\xff}',
        LOGIN.slice(0, r.below(40)),
      ]),
      r.pick([
        'Content-Type: application/json',
        'Content-Type: application/json; charset=x',
        'Content-Type: text/plain',
        'Content-Type: \xff',
        'Content-Type: application/x-www-form-urlencoded',
        'Content-Encoding: gzip',
      ]),
      `X-Mark: ${mark}`,
    ),
  pipelined: (r, mark) =>
    Array.from({ length: 2 + r.below(20) }, () => message(`GET /echo/${mark} HTTP/1.1`, [HOST])).join('') + mutate(VALID[0]!(mark), r),
}
const NAMES = Object.keys(KINDS)

function malformedRequest(seed: number, index: number): MalformedRequest {
  const r = randomOf(seed, index)
  const kind = NAMES[index % NAMES.length]!
  const bytes = KINDS[kind]!(r, markOf(index))
  return {
    kind,
    bytes,
    end: r.pick(['waits', 'half-closes', 'half-closes', 'resets']),
    splitAt: r.below(2) ? r.below(bytes.length + 1) : 0,
  }
}

export async function malformedRequests({ port, count, width, seed }: RequestStorm): Promise<RequestStormResult> {
  const result: RequestStormResult = { sent: 0, answered: 0, statuses: new Map(), broken: [] }
  await inParallel(count, width, async (index) => {
    const request = malformedRequest(seed, index)
    const { text, isClosed } = await send(port, request)
    result.sent++
    if (text) result.answered++
    const here = `${request.kind}, seed ${seed}, number ${index}`
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0)
    result.statuses.set(status, (result.statuses.get(status) ?? 0) + 1)
    if (!isClosed) result.broken.push(`left open: ${here}`)
    if (text && !status) result.broken.push(`no answer of HTTP: ${here}`)
    if (status === 500) result.broken.push(`answered 500: ${here}`)
    if (strangers(text, markOf(index)).length) result.broken.push(`got another's bytes: ${here}`)
  })
  return result
}

/** A gateway that waits for the rest of a request is not waited for longer. */
const PATIENCE_MS = 50
/** By then a connection whose client has ended is long closed. */
const HUNG_MS = 15_000

function send(port: number, { bytes, end, splitAt }: MalformedRequest): Promise<{ text: string; isClosed: boolean }> {
  return new Promise((resolve) => {
    let text = ''
    let isClosed = true
    const socket = net.connect(port, '127.0.0.1')
    const hung = setTimeout(() => {
      isClosed = false
      socket.destroy()
    }, HUNG_MS)
    let patience: NodeJS.Timeout | undefined
    const leave = () => void socket.end()
    const write = (part: string, then: () => void) => socket.write(part, 'latin1', then)
    const written = () => {
      if (end === 'resets') socket.resetAndDestroy()
      else if (end === 'half-closes') leave()
      else patience = setTimeout(leave, PATIENCE_MS)
    }
    socket.setNoDelay(true)
    socket.setEncoding('latin1')
    socket.on('connect', () => {
      if (splitAt > 0 && splitAt < bytes.length)
        write(bytes.slice(0, splitAt), () => setImmediate(() => write(bytes.slice(splitAt), written)))
      else write(bytes, written)
    })
    socket.on('data', (chunk) => {
      text += chunk
      if (patience) leave()
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      clearTimeout(hung)
      clearTimeout(patience)
      resolve({ text, isClosed })
    })
  })
}
