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
  /** The cookies, as a browser keeps them. */
  cookies: Map<string, string>
}

/** A browser without a session. Cookies are kept. */
export function openConsole({ adminUrl }: Pick<Gateway, 'adminUrl'>): Console {
  const cookies = new Map<string, string>()
  async function send(path: string, init: RequestInit, headers: Record<string, string>): Promise<Shown> {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(adminUrl + path, { ...init, headers: { ...(cookie && { cookie }), ...headers }, redirect: 'manual' })
    for (const header of answer.headers.getSetCookie()) {
      const [name = '', value = ''] = header.slice(0, header.indexOf(';')).split('=')
      if (/; Max-Age=0/.test(header)) cookies.delete(name)
      else cookies.set(name, value)
    }
    return { status: answer.status, to: answer.headers.get('location'), headers: answer.headers, text: await answer.text() }
  }
  return {
    cookies,
    get: (path) => send(path, {}, {}),
    post: (path, fields = {}, headers = {}) =>
      send(path, { method: 'POST', body: new URLSearchParams(fields) }, { origin: adminUrl, ...headers }),
  }
}

/** A browser in which this user has logged in. */
export async function consoleOf(gateway: Pick<Gateway, 'adminUrl'>, user: Pick<TestUser, 'username' | 'password'>): Promise<Console> {
  const site = openConsole(gateway)
  const { status, to, text } = await site.post('/console/login', { login: user.username, password: user.password })
  if (status !== 303 || !to?.includes('check=1')) throw new Error(`the login answered ${status}, ${to}: ${text}`)
  return site
}
