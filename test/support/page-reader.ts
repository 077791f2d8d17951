/** A browser without scripts and without pictures, for tests of pages: it keeps cookies, and sends what a browser sends. */
import { COOKIE, cookieLogin } from './browser-session.ts'
import type { TestUser } from './client.ts'

export interface PageAnswer {
  status: number
  headers: Headers
  html: string
  /** Where a redirect leads. */
  to: string | null
}

type Fields = Record<string, string>

export interface PageReader {
  /** By name. */
  cookies: Map<string, string>
  /** @param path below `/auth/ui`, or a path of a redirect */
  get(path: string, headers?: Fields): Promise<PageAnswer>
  /** Sends a form of a page of the gateway. */
  post(path: string, fields: Fields, headers?: Fields): Promise<PageAnswer>
  /** Sends a form, and follows its redirect. @throws for another answer */
  submit(path: string, fields: Fields): Promise<PageAnswer>
}

/** What a browser sends with a navigation that a page of the same origin began. */
const NAVIGATION = {
  accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
  'accept-language': 'en',
  'sec-fetch-site': 'same-origin',
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
}

export function createPageReader(gateway: { url: string }, sessionCookie?: string): PageReader {
  const cookies = new Map(sessionCookie === undefined ? [] : [[COOKIE, sessionCookie]])

  async function send(path: string, headers: Fields, body: string | null): Promise<PageAnswer> {
    const sent = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(`${gateway.url}${path.startsWith('/auth/') ? path : `/auth/ui${path}`}`, {
      method: body === null ? 'GET' : 'POST',
      headers: { ...NAVIGATION, ...(sent === '' ? {} : { cookie: sent }), ...headers },
      body,
      redirect: 'manual',
    })
    for (const set of response.headers.getSetCookie()) keep(set)
    return { status: response.status, headers: response.headers, html: await response.text(), to: response.headers.get('location') }
  }

  function keep(set: string): void {
    const [pair = ''] = set.split(';')
    const [name = '', value = ''] = pair.split('=')
    if (/; Max-Age=0(?:;|$)/.test(set)) cookies.delete(name)
    else cookies.set(name, value)
  }

  const post = (path: string, fields: Fields, headers: Fields = {}) =>
    send(path, { 'content-type': 'application/x-www-form-urlencoded', ...headers }, new URLSearchParams(fields).toString())

  return {
    cookies,
    get: (path, headers = {}) => send(path, headers, null),
    post,
    async submit(path, fields) {
      const { status, to, html } = await post(path, fields)
      if (status !== 303 || to === null) throw new Error(`the form of ${path} was answered ${status}: ${html}`)
      return send(to, {}, null)
    },
  }
}

/** A reader who has logged in by cookie. */
export const loggedInReader = async (gateway: { url: string }, user: Pick<TestUser, 'username' | 'password'>): Promise<PageReader> =>
  createPageReader(gateway, await cookieLogin(gateway, user))
