/** Answers as no upstream should give them, on connections that others share: each is refused, broken off or cut down to what it is. */

import { type RawUpstream, startRawUpstream } from '../../support/raw-upstream.ts'
import { inParallel, markOf, type Random, randomOf, strangers } from './random.ts'
import { openClient, type WireClient } from './wire-client.ts'

export interface BadAnswer {
  kind: string
  bytes: string
  /** What the upstream does to the connection after it. */
  end: 'stays' | 'closes' | 'resets' | 'repeats'
  method?: 'HEAD'
  /** What a client may get as a whole answer; null: there is none. Undefined: whatever the changed bytes say. */
  whole?: string | null
}

export interface AnswerStormResult {
  sent: number
  refused: number
  brokenOff: number
  whole: number
  /** What must stay empty. */
  broken: string[]
}

const ok = (...fields: string[]) => `${['HTTP/1.1 200 OK', ...fields].join('\r\n')}\r\n\r\n`
const BODY = 'the whole body of an answer, neither more nor less'
const LENGTH = `Content-Length: ${BODY.length}`
const sized = ok(LENGTH) + BODY
const inChunks = `${ok('Transfer-Encoding: chunked')}10\r\n${BODY.slice(0, 16)}\r\n${(BODY.length - 16).toString(16)}\r\n${BODY.slice(16)}\r\n0\r\n\r\n`
const withTrailer = inChunks.replace(/\r\n$/, 'X-After: a\r\n\r\n')
/** Must reach nobody. */
const POISON = 'poison'
const SECOND = `HTTP/1.1 200 OK\r\nContent-Length: ${POISON.length}\r\nX-Poison: 1\r\n\r\n${POISON}`
const INTERIM = ['HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', 'HTTP/1.1 102 Processing\r\n\r\n', 'HTTP/1.1 100 Continue\r\n\r\n']
const MIB = 1024 * 1024

type Make = (r: Random) => Omit<BadAnswer, 'kind'>
const refused = (bytes: string, end: BadAnswer['end'] = 'stays'): Omit<BadAnswer, 'kind'> => ({ bytes, end, whole: null })
const among =
  (list: readonly string[]): Make =>
  (r) =>
    refused(r.pick(list), r.pick(['stays', 'closes', 'resets']))

const KINDS: Record<string, Make> = {
  'a status line that is none': among([
    ...[
      'SSH-2.0-OpenSSH_9\r\n\r\n',
      '220 smtp.test ESMTP\r\n\r\n',
      '<html>no head</html>\r\n\r\n',
      `http/1.1 200 OK\r\n${LENGTH}\r\n\r\n${BODY}`,
    ],
    ...[
      `HTTP/1.1 OK\r\n${LENGTH}\r\n\r\n${BODY}`,
      `HTTP/1.1200 OK\r\n${LENGTH}\r\n\r\n${BODY}`,
      `HTTP/9.9 200 OK\r\n${LENGTH}\r\n\r\n${BODY}`,
    ],
    ...[
      `HTTP/1.1  200 OK\r\n${LENGTH}\r\n\r\n${BODY}`,
      '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\0'.repeat(100),
    ],
  ]),
  'a status that is none': (r) =>
    refused(
      `HTTP/1.1 ${r.pick(['000', '0', '20', '99', '1000', '2000', '-200', '2OO', '099', '001'])} OK\r\n${LENGTH}\r\n\r\n${BODY}`,
      r.pick(['stays', 'closes']),
    ),
  'lengths that differ': among([
    `${ok(LENGTH, 'Content-Length: 5')}${BODY}`,
    `${ok('Content-Length: 5', LENGTH)}${BODY}`,
    `${ok(`Content-Length: 5, ${BODY.length}`)}${BODY}`,
  ]),
  'a length that is none': among(
    ['five', '-1', '+5', '0x5', '5 5', '99999999999999999999', '', '1e1', '5\x0b'].map((n) => `${ok(`Content-Length: ${n}`)}${BODY}`),
  ),
  'a length beside chunks': among([
    inChunks.replace('\r\n', `\r\n${LENGTH}\r\n`),
    inChunks.replace('chunked\r\n', `chunked\r\n${LENGTH}\r\n`),
    inChunks.replace('chunked\r\n', 'chunked\r\nContent-Length: 3\r\n'),
  ]),
  'a header that is none': among(
    ['nonsense', ': empty', 'X : a', 'X: a\r\n folded', 'X: a\0b', 'X\0: b', 'X: a\rX-Injected: 1', 'X: a\x01b', '\x80: a', 'X Y: a'].map(
      (f) => `${ok(f, LENGTH)}${BODY}`,
    ),
  ),
  'headers beyond all measure': (r) =>
    refused(
      r.pick([
        () => ok(`X: ${'x'.repeat(10 * MIB)}`),
        () => ok('X: y\r\n'.repeat(1_500_000).slice(0, -2)),
        () => `HTTP/1.1 200 ${'x'.repeat(MIB)}`,
        () => `${'x'.repeat(MIB)}`,
      ])(),
    ),
  'many interim answers': (r) => refused(r.pick(INTERIM).repeat(5000), r.pick(['stays', 'closes'])),
  'interim answers without end': (r) => refused(r.pick(INTERIM), 'repeats'),
  'a switch of protocols that nobody asked for': among([
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    `HTTP/1.1 101 Switching Protocols\r\n${LENGTH}\r\n\r\n${BODY}`,
  ]),
  'chunks that are none': (r) =>
    refused(
      `${ok('Transfer-Encoding: chunked')}5\r\nhello\r\n${r.pick(['zz\r\nx\r\n', '-1\r\nx\r\n', 'fffffffffffffffff\r\nx', '5\r\nhello!\r\n0\r\n\r\n', '5\nhello\r\n0\r\n\r\n', '0x5\r\nhello\r\n0\r\n\r\n', '\r\n0\r\n\r\n', ' \r\n', `5;${'a'.repeat(100_000)}`])}`,
      r.pick(['stays', 'closes', 'resets']),
    ),
  'a trailer that is none': (r) =>
    refused(
      `${inChunks.slice(0, -2)}${r.pick(['nonsense\r\n\r\n', 'X: \0\r\n\r\n', ': a\r\n\r\n', `X: ${'x'.repeat(MIB)}`])}`,
      r.pick(['stays', 'closes']),
    ),
  'a coding below the chunks': among([
    inChunks.replace('chunked', 'gzip, chunked'),
    `${ok('Transfer-Encoding: chunked, gzip')}${BODY}`,
    `${ok('Transfer-Encoding: chunked, identity', LENGTH)}${BODY}`,
  ]),
  'cut off': (r) => {
    const text = r.pick([sized, inChunks, withTrailer])
    return refused(text.slice(0, r.below(text.length)), r.pick(['stays', 'closes', 'resets']))
  },
  'cut off after much of it': (r) => {
    const text = r.pick([
      `${ok('Content-Length: 200000')}${'x'.repeat(200_000)}`,
      `${ok('Transfer-Encoding: chunked')}30d40\r\n${'x'.repeat(200_000)}\r\n0\r\n\r\n`,
    ])
    return refused(text.slice(0, 60 + r.below(199_000)), r.pick(['stays', 'closes', 'resets']))
  },
  'no end but a reset': () => refused(`${ok('Connection: close')}${BODY}`, 'resets'),
  'not a word': (r) => refused('', r.pick(['stays', 'closes', 'resets'])),
  'two answers in one write': (r) => ({
    bytes: r.pick([sized, inChunks, `${ok('Content-Length: 0')}`]) + SECOND.repeat(1 + r.below(3)),
    end: 'stays',
  }),
  'data after the end': (r) => ({
    bytes: sized + r.pick(['x', '\r\n\r\n', POISON, '\0', r.bytes(1000), ' '.repeat(100_000)]),
    end: r.pick(['stays', 'closes', 'resets']),
  }),
  'a body where none belongs': (r) => ({
    bytes: `HTTP/1.1 ${r.pick(['204 No Content', '304 Not Modified'])}\r\n${r.pick([LENGTH, 'Transfer-Encoding: chunked'])}\r\n\r\n${r.pick([BODY, SECOND])}`,
    end: 'stays',
    whole: '',
  }),
  'a body behind an answer to HEAD': (r) => ({
    bytes: r.pick([sized, ok(LENGTH) + SECOND]),
    end: r.pick(['stays', 'closes']),
    method: 'HEAD',
    whole: '',
  }),
  changed: (r) => {
    let bytes = r.pick([sized, inChunks, withTrailer])
    for (let n = 1 + r.below(3); n > 0; n--) {
      const at = r.below(bytes.length)
      bytes = r.pick([
        () => bytes.slice(0, at) + r.bytes(1) + bytes.slice(at + 1),
        () => bytes.slice(0, at) + bytes.slice(at + r.below(10)),
        () => bytes.slice(0, at) + r.pick(['\0', '\r', '\n', '\r\n', '\r\n\r\n', ':', SECOND]) + bytes.slice(at),
      ])()
    }
    return { bytes, end: r.pick(['stays', 'closes', 'resets']) }
  },
  'random bytes': (r) => ({ bytes: r.bytes(1 + r.below(2000)), end: r.pick(['stays', 'closes', 'resets']), whole: null }),
}
const NAMES = Object.keys(KINDS)

function badAnswer(seed: number, index: number): BadAnswer {
  const kind = NAMES[index % NAMES.length]!
  return { kind, ...KINDS[kind]!(randomOf(seed, index)) }
}

/** `/good/MARK` answers with the mark, `/bad/SEED/N` with the answer of that number. */
export const startBadUpstream = (): Promise<RawUpstream> =>
  startRawUpstream((socket, request) => {
    const [, kind, name = '', index] = /^\w+ \/(\w+)\/(\w+)\/?(\d*)/.exec(request) ?? []
    if (kind === 'good') return void socket.write(ok(`Content-Length: ${name.length}`) + name)
    const { bytes, end } = badAnswer(Number(name), Number(index))
    socket.write(bytes, 'latin1', () => {
      if (end === 'closes') socket.end()
      else if (end === 'resets') socket.resetAndDestroy()
      else if (end === 'repeats') {
        const again = setInterval(() => socket.write(bytes, 'latin1'), 100)
        socket.on('close', () => clearInterval(again))
      }
    })
  })

/** Many times what an upstream is given. */
const PATIENCE_MS = 15_000

const get = (path: string, method = 'GET') => `${method} ${path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n`

/** Each connection asks for one bad answer after another, and after each for a good one: on the same connection if it is still there. */
export async function malformedAnswers({
  port,
  count,
  width,
  seed,
}: {
  port: number
  count: number
  width: number
  seed: number
}): Promise<AnswerStormResult> {
  const result: AnswerStormResult = { sent: 0, refused: 0, brokenOff: 0, whole: 0, broken: [] }
  const idle: WireClient[] = []
  const client = async () => {
    for (let kept = idle.pop(); kept; kept = idle.pop()) if (kept.isOpen()) return kept
    return openClient(port)
  }
  await inParallel(count, width, async (index) => {
    const { kind, whole, method } = badAnswer(seed, index)
    const here = `${kind}, seed ${seed}, number ${index}`
    const connection = await client()
    const tooLong = setTimeout(() => {
      result.broken.push(`left without an answer: ${here}`)
      connection.socket.destroy()
    }, PATIENCE_MS)
    const answer = await connection.ask(get(`/bad/${seed}/${index}`, method))
    clearTimeout(tooLong)
    result.sent++
    if (!answer.isWhole) result.brokenOff++
    else if (answer.status === 502 || answer.status === 504) result.refused++
    else {
      result.whole++
      if (whole === null) result.broken.push(`passed on as if it were whole: ${here}`)
      else if (whole !== undefined && answer.body !== whole) result.broken.push(`another body: ${here}`)
    }
    if (/^x-injected:/im.test(answer.head)) result.broken.push(`a header was smuggled in: ${here}`)
    if (connection.isOpen()) idle.push(connection)

    const mark = markOf(index)
    const next = await client()
    const good = await next.ask(get(`/good/${mark}`))
    if (good.status !== 200 || good.body !== mark)
      result.broken.push(`the next request got ${good.status} ${good.body.slice(0, 300)}: after ${here}`)
    if (strangers(answer.head + answer.body + good.head + good.body, mark).length) result.broken.push(`got another's bytes: ${here}`)
    if (next.rest()) result.broken.push(`bytes behind the answer: ${here}`)
    if (next.isOpen()) idle.push(next)
  })
  for (const { socket } of idle) socket.destroy()
  return result
}
