/**
 * An open loop on bare sockets: requests begin at a fixed rate, whatever the answers are. It costs a few microseconds a request, so that one
 * CPU can offer several times what a gateway can answer.
 */
import net from 'node:net'

export interface OpenLoopOptions {
  port: number
  /** The request, without a body. */
  head: string
  /** Requests a second. */
  rate: number
  seconds: number
  /** Connections at a time. A request that finds none is not sent. */
  connections?: number
}

export interface OpenLoopResult {
  /** How long it took, in seconds. */
  seconds: number
  /** Milliseconds from when the request should have begun to its answer: of answers with 200 and with 503. */
  ok: number[]
  refused: number[]
  /** 503 without Retry-After of at least a second. */
  unclear: number
  /** Why each other request failed: the status of its answer, `connection lost`, or `no answer`. */
  failed: string[]
  /** Requests that had no connection. */
  unsent: number
  offered: number
}

interface Client {
  socket: net.Socket
  dueAt: number
  text: string
  isBusy: boolean
}

const STEP_MS = 2
/** Answers that come later do not count as answers. */
const LAST_MS = 5000

export async function openLoop({ port, head, rate, seconds, connections = 2000 }: OpenLoopOptions): Promise<OpenLoopResult> {
  const result: OpenLoopResult = { seconds, ok: [], refused: [], unclear: 0, failed: [], unsent: 0, offered: 0 }
  const request = Buffer.from(head)
  const idle: Client[] = []
  const clients = new Set<Client>()
  let underWay = 0

  function settle(client: Client, status: number, answer: string): void {
    underWay--
    client.isBusy = false
    client.text = ''
    const ms = performance.now() - client.dueAt
    if (status === 200) result.ok.push(ms)
    else if (status === 503) {
      result.refused.push(ms)
      if (!/\r\nretry-after: [1-9]/i.test(answer)) result.unclear++
    } else result.failed.push(String(status))
    if (/\r\nconnection: close/i.test(answer)) client.socket.destroy()
    else idle.push(client)
  }

  function read(client: Client, chunk: string): void {
    if (!client.isBusy) return
    client.text += chunk
    const { text } = client
    const end = text.indexOf('\r\n\r\n')
    if (end === -1) return
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0)
    if (text.length < end + 4 + length) return
    settle(client, Number(text.slice(9, 12)), text.slice(0, end + 2))
  }

  function open(): Client {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    const client: Client = { socket, dueAt: 0, text: '', isBusy: false }
    clients.add(client)
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => read(client, chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      clients.delete(client)
      const at = idle.indexOf(client)
      if (at !== -1) idle.splice(at, 1)
      if (!client.isBusy) return
      client.isBusy = false
      underWay--
      result.failed.push('connection lost')
    })
    return client
  }

  function send(dueAt: number): void {
    result.offered++
    const client = idle.pop() ?? (clients.size < connections ? open() : null)
    if (!client) {
      result.unsent++
      return
    }
    client.dueAt = dueAt
    client.isBusy = true
    underWay++
    client.socket.write(request)
  }

  const started = performance.now()
  const total = Math.round(rate * seconds)
  while (result.offered < total) {
    const due = Math.min(total, Math.floor(((performance.now() - started) / 1000) * rate))
    while (result.offered < due) send(started + (result.offered * 1000) / rate)
    await new Promise((resolve) => setTimeout(resolve, STEP_MS))
  }
  result.seconds = (performance.now() - started) / 1000
  const last = performance.now() + LAST_MS
  while (underWay > 0 && performance.now() < last) await new Promise((resolve) => setTimeout(resolve, 20))
  for (const client of clients) if (client.isBusy) result.failed.push('no answer')
  for (const client of clients) {
    client.isBusy = false
    client.socket.destroy()
  }
  return result
}

/** Answers with 200 within this time are good. */
const GOOD_MS = 1000

/** Good answers a second. */
export const goodput = ({ ok, seconds }: OpenLoopResult): number => ok.filter((ms) => ms <= GOOD_MS).length / seconds

export const getHead = (path: string, port: number, token?: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${token ? `Authorization: Bearer ${token}\r\n` : ''}Accept: */*\r\n\r\n`

/** Raises the rate until the answers no longer follow. @returns the most good answers a second */
export async function findSaturation(
  options: Omit<OpenLoopOptions, 'rate'>,
  firstRate: number,
  report: (line: string) => void,
): Promise<number> {
  let peak = 0
  let missed = 0
  // twice: something else may have used the CPU for a moment
  for (let rate = firstRate; missed < 2; rate *= missed > 0 ? 1 : 1.4) {
    const result = await openLoop({ ...options, rate })
    const good = goodput(result)
    report(`offered ${Math.round(result.offered / result.seconds)}/s, good ${Math.round(good)}/s`)
    peak = Math.max(peak, good)
    missed = good < (result.offered / result.seconds) * 0.9 ? missed + 1 : 0
  }
  return peak
}

/** A server that answers every request with the same small body, as cheaply as it can. @returns its port and how to stop it */
export async function startCheapUpstream(): Promise<{ port: number; close(): void }> {
  const body = '{"items":["drawbridge","portcullis"]}'
  const answer = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    // requests without a body, each in one piece: what the gateway writes at once arrives at once on loopback
    socket.on('data', () => socket.write(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
