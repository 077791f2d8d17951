/** The console: its pages, its navigation, and its answers to refused requests. Where it is mounted decides who may reach it. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { html } from '../../identity/pages/html.ts'
import { languageOf } from '../../identity/pages/language.ts'
import type { View } from '../../identity/pages/layout.ts'
import { PAGE_HEADERS, type PageKit } from '../../identity/pages/page-kit.ts'
import { Problem } from '../../platform/lib/errors.ts'
import { contextOf } from '../../platform/request/request-context.ts'
import type { Texts } from '../../platform/texts/texts.ts'
import { errorView } from './elements.ts'
import { createGuard } from './guard.ts'
import type { HostRefusal, JudgeHost } from './hosts.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export interface ConsoleDeps {
  parts: ConsoleParts
  kit: PageKit
  texts: Texts
  sections: readonly ConsoleSection[]
  judgeHost: JudgeHost
  /** @returns the page where an administrator logs in, or authenticates again, and which then leads to `target` */
  loginFor(target: string): string
  logoutPath: string
}

const MAX_BODY_BYTES = 65_536

/** Registers the console below its path. */
export function mountConsole(app: FastifyInstance, { parts, kit, texts, sections, judgeHost, loginFor, logoutPath }: ConsoleDeps): void {
  const { base, db, clock, config } = parts
  const accountUrl = `${config.server.publicUrl.replace(/\/$/, '')}${config.auth.prefix}/ui/account`
  const guard = createGuard({ kit, db, clock, maxAuthAgeSeconds: config.auth.admin.maxAuthAgeSeconds, loginFor, logoutPath, accountUrl })

  // metadata may fill two fields
  app.addHook('onRoute', (route) => {
    route.bodyLimit = MAX_BODY_BYTES
    // the limits of the public listener count the request once the cookie is judged
    route.config = { ...route.config, knowsUser: true } as object
  })
  app.addHook('onRequest', async (request, reply) => {
    const refused = judgeHost(request.raw, contextOf(request.raw).client)
    if (refused) return answerRefusal(request, reply, refused)
  })
  app.setErrorHandler((error, request, reply) => {
    if (!(error instanceof Problem) || error.status >= 500) throw error
    contextOf(request.raw).error = error
    if (error.status === 401) return reply.headers(PAGE_HEADERS).redirect(loginFor(request.url), 303)
    kit.send(request, reply, errorView({ reply, language: languageOf(request.headers, texts) }, error))
    return reply
  })
  app.get('/', { config: { name: 'console' } as object, schema: { hide: true } }, (_request, reply) =>
    reply.headers(PAGE_HEADERS).redirect(`${base}${sections[0]!.path}`, 303),
  )
  for (const { path, pages } of sections) pages(app, guard(path))

  function answerRefusal(request: FastifyRequest, reply: FastifyReply, refused: NonNullable<HostRefusal>): FastifyReply {
    const { text } = languageOf(request.headers, texts)
    const view: View = { title: text('console.refused'), status: 403, body: html`<p>${text(`console.refused-${refused}`)}</p>` }
    kit.send(request, reply, view)
    return reply
  }
}
