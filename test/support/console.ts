/** The console of a gateway as a logged-in administrator sees it, without a browser. */
import type { TestUser } from './client.ts'
import type { Gateway } from './gateway.ts'

export interface Shown {
  status: number
  /** The path to which the answer leads; null when it is a page. */
  to: string | null
  headers: Headers
  text: string
}

export interface Console {
  get(path: string): Promise<Shown>
  /** Sends a form, as the page at this path does. */
  post(path: string, fields?: Record<string, string>, headers?: Record<string, string>): Promise<Shown>
}

/** @param headers of each request */
export function consoleWith(adminUrl: string, headers: Record<string, string>): Console {
  const send = async (path: string, init: RequestInit = {}, more: Record<string, string> = {}): Promise<Shown> => {
    const answer = await fetch(adminUrl + path, { ...init, headers: { ...headers, ...more }, redirect: 'manual' })
    return { status: answer.status, to: answer.headers.get('location'), headers: answer.headers, text: await answer.text() }
  }
  return {
    get: (path) => send(path),
    post: (path, fields = {}, more = {}) =>
      send(path, { method: 'POST', body: new URLSearchParams(fields) }, { origin: adminUrl, ...more }),
  }
}

export const consoleOf = async (gateway: Pick<Gateway, 'adminUrl'>, { token }: TestUser): Promise<Console> =>
  consoleWith(gateway.adminUrl, { authorization: `Bearer ${token}` })
