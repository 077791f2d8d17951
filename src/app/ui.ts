/** Mounts the pages for browsers below `{prefix}/ui`, with their style, their script and the choice of a language. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { RequireAuth } from '../identity/access/require-auth.ts'
import type { Asset, Assets } from '../identity/pages/assets.ts'
import { languageCookie } from '../identity/pages/language.ts'
import { createPageKit, type Pages, readFields } from '../identity/pages/page-kit.ts'
import { Problem, problem } from '../platform/lib/errors.ts'
import { contextOf, type RequestContext } from '../platform/request/request-context.ts'
import type { Texts } from '../platform/texts/texts.ts'
import type { PageFrame } from './page-frame.ts'

export interface UiDeps {
  frame: PageFrame
  requireAuth: RequireAuth
  saveLanguage: SaveLanguage
  pages: readonly Pages[]
  /** Below `{prefix}/providers`. */
  providerPages: Pages
}

/** Keeps the choice of a user, for mails. */
export type SaveLanguage = (userId: string, code: string, context: RequestContext) => Promise<void>

/** @returns registers the pages */
export function createUi({ frame, requireAuth, saveLanguage, pages, providerPages }: UiDeps): (auth: FastifyInstance) => Promise<void> {
  const { base, texts, assets, solver, layout, crossSite, returnTo } = frame
  const kit = createPageKit({ base, layout, texts, crossSite, requireAuth })

  async function chosen(request: FastifyRequest, code: string): Promise<void> {
    // a link of another site may not change what is kept of the user
    if (!crossSite.admitsCookie(request.raw, contextOf(request.raw).client, false, true)) return
    const principal = await requireAuth.optional(request)
    if (principal?.kind === 'user') await saveLanguage(principal.id, code, contextOf(request.raw))
  }

  /** The page of a refusal stands at the address of a route. */
  const otherPage = (request: FastifyRequest) => returnTo.of({ request, client: contextOf(request.raw).client }, request.headers.referer)

  async function register(ui: FastifyInstance): Promise<void> {
    mountPageBasics(ui, { base, home: `${base}/login`, assets, texts, name: 'ui', chosen, otherPage })
    if (solver) mountAssets(ui, 'ui', solver.files)
    ui.get('/', hidden('ui.start'), (_request, reply) => reply.redirect(`${base}/account`, 303))
    for (const define of pages) define(ui, kit)
  }

  /** Providers know these paths. */
  async function registerProviders(app: FastifyInstance): Promise<void> {
    readForms(app)
    providerPages(app, kit)
  }

  return async (auth) => {
    await auth.register(register, { prefix: '/ui' })
    await auth.register(registerProviders, { prefix: '/providers' })
  }
}

export interface PageBasics {
  /** The path of the pages. */
  base: string
  /** The page after a choice of language, when no page of ours is known. */
  home: string
  assets: Assets
  texts: Texts
  /** Begins the labels in logs and metrics. */
  name: string
  /** Called when a reader has chosen a language. */
  chosen?(request: FastifyRequest, code: string): Promise<void>
  /** The page that the reader came from, when it is not below `base`. */
  otherPage?(request: FastifyRequest): string | null
}

/** What all pages need beside themselves: bodies of forms, style, script, and the choice of a language. */
export function mountPageBasics(app: FastifyInstance, { base, home, assets, texts, name, chosen, otherPage }: PageBasics): void {
  readForms(app)
  // over plain http a browser ignores these two, and reports each as an error of the page
  app.addHook('onSend', async ({ raw }, reply) => {
    if (contextOf(raw).client.isSecure) return
    for (const name of ['cross-origin-opener-policy', 'origin-agent-cluster']) reply.removeHeader(name)
  })
  mountAssets(app, name, [assets.style, assets.script, assets.passkeyScript])
  app.get<{ Params: { code: string } }>('/language/:code', hidden(`${name}.language`), async (request, reply) => {
    const language = texts.languages.find(({ code }) => code === request.params.code)
    if (!language) throw problem('not_found')
    // the cookie alone is enough for pages: a login that has ended, or a database that is away, must not keep a reader from reading
    await chosen?.(request, language.code).catch((error) => {
      if (!(error instanceof Problem)) throw error
    })
    const to = backTo(request.headers.referer, base) ?? otherPage?.(request) ?? home
    return reply.header('set-cookie', languageCookie(language.code)).redirect(to, 303)
  })
}

function mountAssets(app: FastifyInstance, name: string, assets: readonly Asset[]): void {
  for (const { path, type, content } of assets)
    app.get(`/${path}`, hidden(`${name}.assets`, { isAsset: true }), (_request, reply) =>
      reply.header('cache-control', 'public, max-age=31536000, immutable').type(type).send(content),
    )
}

/** @param name the label in logs and metrics */
const hidden = (name: string, more: { isAsset?: true } = {}) => ({ config: { name, ...more } as object, schema: { hide: true } })

/** The page that the reader came from, if it is one of ours. */
function backTo(referer: string | undefined, base: string): string | null {
  const url = referer === undefined ? null : URL.parse(referer)
  return url?.pathname.startsWith(`${base}/`) ? url.pathname + url.search : null
}

/** Forms only: a page takes no JSON. */
function readForms(ui: FastifyInstance): void {
  ui.removeAllContentTypeParsers()
  ui.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, text: string, done) => {
    try {
      done(null, readFields(text))
    } catch (error) {
      done(error as Error)
    }
  })
}
