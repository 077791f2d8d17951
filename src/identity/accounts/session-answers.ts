/**
 * How the JSON API gives a session by cookie: the request asks for it in the body, and the answer carries it in a header alone. Scripts of a
 * page can never read the cookie.
 */
import type { IncomingMessage } from 'node:http'
import { type TLiteral, type TOptional, Type } from 'typebox'
import { invalidField } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { CrossSite } from '../access/cross-site.ts'
import type { SessionCookies } from '../access/session-cookie.ts'
import type { NewCookie, SessionChoice } from '../sessions/cookie-values.ts'

interface Carrier {
  raw: IncomingMessage
}

interface Headers {
  header(name: string, value: string): unknown
}

export interface SessionAnswers {
  /** The fields of a body that ask for a cookie. None where browsers are not enabled. */
  fields: { session: TOptional<TLiteral<'cookie'>>; remember: ReturnType<typeof Remember> }
  /** @throws origin_untrusted, validation_failed */
  checkChoice(request: Carrier, choice: SessionChoice): void
  /** Moves the cookie of an answer into the headers. */
  send<A extends object>(request: Carrier, reply: Headers, answer: A): WithoutCookie<A>
  /** After a logout that passed the origin rule. */
  clear(request: Carrier, reply: Headers): void
}

export type WithoutCookie<A> = A extends { cookie?: NewCookie } ? Omit<A, 'cookie'> : A

const Remember = () => Type.Optional(Type.Boolean({ description: 'With a cookie: keep it when the browser is closed.' }))

/** @param browser null where browsers are not enabled */
export function createSessionAnswers(browser: { cookies: SessionCookies; crossSite: CrossSite } | null): SessionAnswers {
  if (!browser) {
    // the types of bodies are those of a gateway with browsers; without them a body that holds these fields is refused
    return { fields: {} as never, checkChoice: () => {}, send: (_request, _reply, answer) => answer as never, clear: () => {} }
  }
  const { cookies, crossSite } = browser
  const sessionField = Type.Optional(
    Type.Literal('cookie', { description: 'Opens the session by cookie: the answer sets the cookie, and has no tokens.' }),
  )
  return {
    fields: { session: sessionField, remember: Remember() },
    checkChoice(request, { session, remember }) {
      if (session === undefined && remember !== undefined) throw invalidField('remember', 'not_allowed', 'needs session: cookie')
      if (session === undefined) return
      const { client } = contextOf(request.raw)
      crossSite.requireTrustedOrigin(request.raw, client)
      if (cookies.nameFor(request.raw, client) === null) throw invalidField('session', 'not_allowed', 'needs https: log in over https')
    },
    send(request, reply, answer) {
      if (!('cookie' in answer)) return answer as never
      const { cookie, ...rest } = answer as { cookie: NewCookie }
      reply.header('set-cookie', cookies.toSet(request.raw, contextOf(request.raw).client, cookie))
      return rest as never
    },
    clear(request, reply) {
      for (const header of cookies.toClear(request.raw, contextOf(request.raw).client)) reply.header('set-cookie', header)
    },
  }
}
