/** An HTTP client that says how a connection ended, and whether the answer arrived whole. */
import http, { type IncomingHttpHeaders } from 'node:http'

export interface HttpAnswer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  ms: number
}

export interface AskOptions {
  method?: string
  headers?: Record<string, string>
  /** An object is sent as JSON. */
  body?: unknown
  token?: string | undefined
  /** Default: a connection of its own. */
  agent?: http.Agent
  /** For the whole exchange. */
  timeoutMs?: number
}

/** The connection ended, or the answer took too long. */
export class BrokenExchange extends Error {
  readonly code: string
  /** The connection had carried a request before: the server may have closed it while it was idle. */
  readonly isReused: boolean
  /** Part of the answer had arrived. */
  readonly hasBegun: boolean
  constructor(code: string, isReused: boolean, hasBegun: boolean) {
    super(`the exchange broke: ${code}`)
    this.code = code
    this.isReused = isReused
    this.hasBegun = hasBegun
  }
}

export const keepAliveAgent = (maxSockets = Number.POSITIVE_INFINITY): http.Agent => new http.Agent({ keepAlive: true, maxSockets })

/** @throws BrokenExchange */
export function ask(url: string, { method, headers = {}, body, token, agent, timeoutMs = 15_000 }: AskOptions = {}): Promise<HttpAnswer> {
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  const started = performance.now()
  return new Promise((resolve, reject) => {
    let hasBegun = false
    const request = http.request(url, {
      agent: agent ?? false,
      method: method ?? (payload === undefined ? 'GET' : 'POST'),
      headers: {
        ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...headers,
      },
    })
    const fail = (code: string) => {
      clearTimeout(timer)
      reject(new BrokenExchange(code, request.reusedSocket, hasBegun))
      request.destroy()
    }
    const timer = setTimeout(() => fail('timeout'), timeoutMs)
    request.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
    request.on('response', (response) => {
      hasBegun = true
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
      response.on('end', () => {
        if (!response.complete) return fail('incomplete')
        clearTimeout(timer)
        resolve({ status: response.statusCode!, headers: response.headers, text, ms: performance.now() - started })
      })
    })
    request.end(payload)
  })
}

/** As `ask`. The status of an exchange that broke says how it broke. */
export async function tryAsk(url: string, options: AskOptions = {}): Promise<Omit<HttpAnswer, 'status'> & { status: number | string }> {
  const started = performance.now()
  try {
    return await ask(url, options)
  } catch (error) {
    if (!(error instanceof BrokenExchange)) throw error
    return { status: error.code, headers: {}, text: '', ms: performance.now() - started }
  }
}

/** The body of a JSON answer; an empty object when it is not JSON. */
export function jsonOf(answer: HttpAnswer): any {
  try {
    return JSON.parse(answer.text)
  } catch {
    return {}
  }
}
