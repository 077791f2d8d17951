/**
 * The way to a provider and back. The browser leaves by a redirect, and comes back to the callback. A page of ours is between a form and the
 * provider, because `form-action` blocks a redirect of a form to another site.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { problem } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { CrossSite } from '../access/cross-site.ts'
import type { FlowCookies } from '../providers/flow-cookies.ts'
import type { Provider } from '../providers/provider.ts'
import type { Providers } from '../providers/providers.ts'
import type { Finished, SignIn, Started } from '../providers/sign-in.service.ts'
import { html } from './html.ts'
import { MARK, type PageCookies, STEP_SECONDS } from './page-cookies.ts'
import { type Outcome, PAGE_HEADERS, type Page, type PageKit, type Pages } from './page-kit.ts'
import type { PageSessions } from './page-sessions.ts'
import type { ReturnTo } from './return-to.ts'

export interface ProviderPagesDeps {
  providers: Providers
  signIn: SignIn
  flowCookies: FlowCookies
  sessions: PageSessions
  /** For the second step of a login. */
  cookies: PageCookies
  /** Sent to all paths of the gateway. */
  wideCookies: PageCookies
  crossSite: CrossSite
  returnTo: ReturnTo
  /** `server.publicUrl`: providers send users back to it alone. */
  publicUrl: string
  authPrefix: string
  /** @returns SHA-256 of the token of an invitation that this browser has opened */
  invitationOf(page: Page): Buffer | null
}

/** Registered below `{prefix}/providers`. */
export const providerPages = (deps: ProviderPagesDeps): Pages => {
  const { providers, signIn, flowCookies, sessions, cookies, wideCookies, crossSite, returnTo, publicUrl, authPrefix, invitationOf } = deps
  const publicOrigin = new URL(publicUrl).origin
  const options = (name: string) => ({ config: { name, knowsUser: true } as object, schema: { hide: true } })
  const idOf = ({ params }: FastifyRequest) => (params as { id: string }).id

  /** @throws validation_failed when the login page says better what is wrong */
  function start(page: Page, provider: Provider): Promise<Started> {
    const { query, context, principal } = page
    const target = returnTo.of(page, query.return_to)
    if (query.reauthenticate !== undefined && principal?.kind === 'user') return signIn.reauthenticate(provider, principal, target, context)
    const mustAsk = wideCookies.read(page, 'left') !== null
    const wish = { returnTo: target, isPersistent: query.remember !== undefined, mustAsk, invitation: invitationOf(page) }
    return signIn.login(provider, wish, context)
  }

  function goOn(page: Page, done: Finished): Outcome {
    const { base } = page
    const target = done.returnTo
    if (done.kind === 'factor') {
      cookies.set(page, 'mfa', done.mfaToken + (done.isPersistent ? MARK : ''), STEP_SECONDS)
      // a redirect would still be a part of the navigation that another site began, without this cookie (SameSite=Strict)
      return sessions.moveOn(page, returnTo.to(`${base}/factor`, target))
    }
    if (done.kind === 'linked') return { to: target ?? `${base}/account/logins?done=linked` }
    sessions.send(page, done.answer)
    if (done.kind === 'again') return { to: target ?? `${base}/account` }
    wideCookies.clear(page, 'left')
    wideCookies.clear(page, 'invitation')
    return { to: returnTo.to(`${base}/login?check=1`, target) }
  }

  return (app: FastifyInstance, kit: PageKit): void => {
    app.get('/:id/start', options('auth.providers.start'), async (request, reply) => {
      const provider = providers.get(idOf(request))
      const { client } = contextOf(request.raw)
      // the cookies of the sign-in and of the session must be of the host that the provider leads back to
      if (crossSite.ownOrigin(request.raw, client) !== publicOrigin) return reply.redirect(publicUrl + request.url, 303)
      const page = await kit.open(request, reply)
      if (!sessions.areReachable(page)) return reply.redirect(`${page.base}/login`, 303)
      const { url, flow } = await start(page, provider)
      const kept = { ...flow, deviceToken: sessions.deviceToken(page).device_token }
      for (const cookie of flowCookies.toSet(request.raw, client, provider, kept)) reply.header('set-cookie', cookie)
      return reply.headers(PAGE_HEADERS).redirect(url.href, 303)
    })

    app.get('/:id/callback', options('auth.providers.callback'), async (request, reply) => {
      const provider = providers.get(idOf(request))
      const page = await kit.open(request, reply)
      const answer = parametersOf(request)
      const state = answer.get('state')
      const kept = flowCookies.read(request.raw, page.client, state)
      if (kept !== null) reply.header('set-cookie', flowCookies.toClear(page.client, state!))
      const browser = { secret: kept?.secret ?? null, deviceToken: kept?.deviceToken, principal: page.principal }
      kit.answer(page, goOn(page, await signIn.finish(provider, answer, browser, page.context)))
      return reply
    })

    // another site posts it: `state` and the cookie of the sign-in are judged, and no session is read
    app.post('/:id/callback', options('auth.providers.callback'), async (request, reply) => {
      const provider = providers.get(idOf(request))
      if (!provider.isFormPost) throw problem('not_found', { cause: 'this provider answers by a redirect' })
      const context = contextOf(request.raw)
      const answer = new URLSearchParams((request.body ?? {}) as Record<string, string>)
      const state = answer.get('state')
      await signIn.keep(provider, answer, flowCookies.read(request.raw, context.client, state)?.secret ?? null, context)
      return reply.headers(PAGE_HEADERS).redirect(`${authPrefix}/providers/${provider.id}/callback?state=${state}`, 303)
    })
  }
}

const parametersOf = ({ url }: FastifyRequest): URLSearchParams =>
  new URLSearchParams(url.includes('?') ? url.slice(url.indexOf('?') + 1) : '')

/** A page between a form and a page of the provider. */
export function leadOut(page: Page, provider: Pick<Provider, 'label'>, url: URL): Outcome {
  page.reply.header('refresh', `0;url=${url.href}`)
  return {
    title: page.text('provider.moving-on', { provider: provider.label }),
    body: html`<p><a class="button" href="${url.href}">${page.text('page.continue')}</a></p>`,
  }
}

/** The buttons of all providers. @param target where the user goes on */
export function providerButtons(page: Page, { list }: Providers, startOf: (provider: Provider) => string) {
  if (list.length === 0) return false
  return html`<ul class="providers">${list.map(
    (provider) =>
      html`<li><a class="button quiet" href="${startOf(provider)}">${page.text('provider.with', { provider: provider.label })}</a></li>`,
  )}</ul>`
}
