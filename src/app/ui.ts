/** Mounts the pages for browsers below `{prefix}/ui`, with their style, their script and the choice of a language. */
import type { FastifyInstance } from 'fastify'
import type { CrossSite } from '../identity/access/cross-site.ts'
import type { RequireAuth } from '../identity/access/require-auth.ts'
import { readAssets } from '../identity/pages/assets.ts'
import { languageCookie } from '../identity/pages/language.ts'
import { createLayout } from '../identity/pages/layout.ts'
import { createPageKit, type PageKit, readFields } from '../identity/pages/page-kit.ts'
import type { Config } from '../platform/config/schema.ts'
import { problem } from '../platform/lib/errors.ts'
import type { Texts } from '../platform/texts/texts.ts'

/** Registers some pages. */
export type Pages = (app: FastifyInstance, kit: PageKit) => void

export interface UiDeps {
  config: Config
  texts: Texts
  crossSite: CrossSite
  requireAuth: RequireAuth
  pages: readonly Pages[]
}

export interface Ui {
  kit: PageKit
  register(auth: FastifyInstance): Promise<void>
}

/** The name that readers know. */
export const serviceNameOf = ({ auth: { browser, mfa }, server }: Config): string =>
  browser.brand.name ?? mfa.issuer ?? new URL(server.publicUrl).hostname

export function createUi({ config, texts, crossSite, requireAuth, pages }: UiDeps): Ui {
  const { prefix, browser } = config.auth
  const base = `${prefix}/ui`
  const assets = readAssets(browser)
  const serviceName = serviceNameOf(config)
  const { supportUrl, accent } = browser.brand
  const layout = createLayout({ base, serviceName, supportUrl, assets, languages: texts.languages }, accent)
  const kit = createPageKit({ layout, texts, crossSite, requireAuth })

  return {
    kit,
    register: async (auth) =>
      void (await auth.register(
        async (ui) => {
          readForms(ui)
          for (const { path, type, content } of [assets.style, assets.script])
            ui.get(`/${path}`, hidden('ui.assets'), (_request, reply) =>
              reply.header('cache-control', 'public, max-age=31536000, immutable').type(type).send(content),
            )
          ui.get<{ Params: { code: string } }>('/language/:code', hidden('ui.language'), (request, reply) => {
            const language = texts.languages.find(({ code }) => code === request.params.code)
            if (!language) throw problem('not_found')
            return reply.header('set-cookie', languageCookie(language.code)).redirect(backTo(request.headers.referer, base), 303)
          })
          for (const define of pages) define(ui, kit)
        },
        { prefix: '/ui' },
      )),
  }
}

/** @param name the label in logs and metrics */
const hidden = (name: string) => ({ config: { name } as object, schema: { hide: true } })

/** The page that the reader came from, if it is one of ours. */
function backTo(referer: string | undefined, base: string): string {
  const url = referer === undefined ? null : URL.parse(referer)
  return url?.pathname.startsWith(`${base}/`) ? url.pathname + url.search : `${base}/login`
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
