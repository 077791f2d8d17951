/** A client that sees every byte: answers are cut out of the stream by RFC 9112 §6.3, and nothing is forgiven. Latin-1. */
import { once } from 'node:events'
import net, { type Socket } from 'node:net'

export interface WireAnswer {
  status: number
  head: string
  body: string
  /** False: the connection ended before the answer did. */
  isWhole: boolean
}

export interface WireClient {
  socket: Socket
  /** Sends this and reads one final answer. */
  ask(bytes: string): Promise<WireAnswer>
  /** Bytes that came and belong to no answer. */
  rest(): string
  isOpen(): boolean
}

export async function openClient(port: number): Promise<WireClient> {
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  let text = ''
  let isOpen = true
  let wake = () => {}
  socket.setEncoding('latin1')
  socket.on('data', (chunk) => {
    text += chunk
    wake()
  })
  socket.on('error', () => socket.destroy())
  for (const end of ['end', 'close'])
    socket.on(end, () => {
      isOpen = false
      wake()
    })
  return {
    socket,
    rest: () => text,
    isOpen: () => isOpen,
    async ask(bytes) {
      socket.write(bytes, 'latin1')
      for (;;) {
        const [answer, length] = cut(text, bytes.startsWith('HEAD '), !isOpen)
        if (answer?.isWhole || !isOpen) {
          text = text.slice(length)
          return answer ?? { status: 0, head: '', body: text, isWhole: false }
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}

/** The first final answer of a text, and how much of the text it is. */
function cut(text: string, isHead: boolean, isEnd: boolean): [WireAnswer | null, number] {
  const interim = /^(HTTP\/1\.1 1(?!01)\d\d[^\r\n]*\r\n([^\r\n]+\r\n)*\r\n)+/.exec(text)?.[0].length ?? 0
  const headEnd = text.indexOf('\r\n\r\n', interim)
  if (headEnd < 0) return [null, text.length]
  const from = headEnd + 4
  const head = text.slice(interim, from)
  const status = Number(/^HTTP\/1\.1 (\d{3})[ \r]/.exec(head)?.[1] ?? 0)
  const answer = (body: string, isWhole: boolean, end: number): [WireAnswer, number] => [{ status, head, body, isWhole }, end]
  if (isHead || status === 204 || status === 304 || status === 101) return answer('', true, from)
  if (/^transfer-encoding: chunked\r$/im.test(head)) {
    const { body, end } = chunked(text, from)
    return answer(body, end !== null, end ?? text.length)
  }
  const length = /^content-length: (\d+)\r$/im.exec(head)?.[1]
  if (length === undefined) return answer(text.slice(from), isEnd, text.length)
  const end = from + Number(length)
  return answer(text.slice(from, end), text.length >= end, Math.min(end, text.length))
}

function chunked(text: string, from: number): { body: string; end: number | null } {
  let body = ''
  for (let at = from; ; ) {
    const line = text.indexOf('\r\n', at)
    if (line < 0) return { body, end: null }
    const size = Number.parseInt(text.slice(at, line), 16)
    if (size === 0) {
      const end = text.startsWith('\r\n', line + 2) ? line + 2 : text.indexOf('\r\n\r\n', line + 2)
      return { body, end: end < 0 ? null : end + (end === line + 2 ? 2 : 4) }
    }
    if (!(size > 0) || text.length < line + 2 + size + 2) return { body: body + text.slice(line + 2), end: null }
    body += text.slice(line + 2, line + 2 + size)
    at = line + 2 + size + 2
  }
}
