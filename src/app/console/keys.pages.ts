/** The signing keys: their states and ages, and the pages that ask before a key changes. */
import type { FastifyInstance } from 'fastify'
import { actorOf } from '../../identity/admin/users.routes.ts'
import { type Html, html } from '../../identity/pages/html.ts'
import type { Page, PageKit } from '../../identity/pages/page-kit.ts'
import type { KeyStatus } from '../../identity/tokens/keyring.ts'
import { problem } from '../../platform/lib/errors.ts'
import { ageText } from '../../platform/texts/durations.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import { badge, confirmation, doneNotice, link, table, when } from './elements.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export const keysSection = (parts: ConsoleParts): ConsoleSection => ({
  path: '/keys',
  text: 'console.keys',
  pages(app, kit) {
    defineList(app, kit, parts)
    defineRotation(app, kit, parts, 'rotate')
    defineRotation(app, kit, parts, 'replace')
    defineRevocation(app, kit, parts)
  },
})

const DONE: { readonly [done: string]: TextKey } = { rotate: 'keys.rotate-done', replace: 'keys.replace-done', revoke: 'keys.revoke-done' }

function defineList(app: FastifyInstance, kit: PageKit, { base, administration, clock }: ConsoleParts): void {
  kit.define(app, {
    path: '/keys',
    name: 'console.keys',
    for: 'user',
    async show(page) {
      const { text, language } = page
      const now = clock.now()
      return {
        title: text('console.keys'),
        body: html`${doneNotice(page, DONE)}<p class="lead">${text('keys.what')}</p>
<p class="actions"><a class="button" href="${base}/keys/rotate">${text('keys.rotate')}</a> <a class="button quiet danger" href="${base}/keys/replace">${text('keys.replace')}</a></p>
${table(
  text('console.keys'),
  [
    'kid',
    text('keys.state'),
    text('keys.algorithm'),
    text('keys.age'),
    text('keys.signs-from'),
    text('keys.retired'),
    text('console.action'),
  ],
  (await administration.keys()).map((key) => [
    html`<code>${key.kid}</code>`,
    html`${badge(text(`keys.state-${key.state}`), key.state === 'current' ? 'good' : 'plain')}<br><span class="soft">${text(`keys.${key.state}-what`)}</span>`,
    key.algorithm,
    html`${ageText(key.createdAt, now, language)}<br><span class="soft">${when(key.createdAt, language)}</span>`,
    when(key.activatesAt, language),
    when(key.retiredAt, language),
    html`<a href="${base}/keys/${key.kid}/revoke">${text('keys.revoke')}<span class="hidden"> ${key.kid}</span></a>`,
  ]),
)}`,
      }
    },
  })
}

/** `replace` is for a key that leaked. */
function defineRotation(app: FastifyInstance, kit: PageKit, { base, administration }: ConsoleParts, name: 'rotate' | 'replace'): void {
  const isLeak = name === 'replace'
  kit.define(app, {
    path: `/keys/${name}`,
    name: `console.keys.${name}`,
    for: 'user',
    async show(page) {
      const { text } = page
      const keys = await administration.keys()
      const current = keys.find(({ state }) => state === 'current')
      const next = keys.find(({ state }) => state === 'next')
      const what = html`${current && html`<p>${text('keys.signs-now')} <code>${current.kid}</code>.</p>`}<ul>
${isLeak && html`<li>${text('keys.replace-what')}</li><li>${text('keys.refresh')}</li>`}
${!isLeak && html`<li>${text('keys.rotate-what')}</li><li>${text('keys.rotate-old')}</li>`}
${!isLeak && next && html`<li>${text('keys.rotate-next')} <code>${next.kid}</code></li>`}
</ul>`
      return {
        title: text(`keys.${name}-title`),
        body: confirmation(page, { what, submit: text(`keys.${name}`), isDanger: isLeak, cancel: `${base}/keys` }),
      }
    },
    async submit({ request }) {
      await administration.rotateKey({ now: isLeak }, actorOf(request))
      return { to: link(`${base}/keys`, { done: name }) }
    },
  })
}

function defineRevocation(app: FastifyInstance, kit: PageKit, { base, administration }: ConsoleParts): void {
  /** @throws not_found */
  async function keyOf({ request }: Page): Promise<KeyStatus> {
    const { kid } = request.params as { kid: string }
    const key = (await administration.keys()).find((known) => known.kid === kid)
    if (!key) throw problem('not_found', { detail: 'There is no signing key with this kid.' })
    return key
  }

  kit.define(app, {
    path: '/keys/:kid/revoke',
    name: 'console.keys.revoke',
    for: 'user',
    async show(page) {
      const { text } = page
      const { kid, state } = await keyOf(page)
      const what: Html = html`<p><code>${kid}</code> ${badge(text(`keys.state-${state}`), state === 'current' ? 'good' : 'plain')}</p>
<ul><li>${text(`keys.revoke-${state}`)}</li>${state !== 'next' && html`<li>${text('keys.refresh')}</li>`}<li>${text('keys.no-way-back')}</li></ul>`
      return {
        title: text('keys.revoke-title'),
        body: confirmation(page, { what, submit: text('keys.revoke'), isDanger: true, cancel: `${base}/keys` }),
      }
    },
    async submit(page) {
      const { kid } = await keyOf(page)
      await administration.revokeKey(kid, actorOf(page.request))
      return { to: link(`${base}/keys`, { done: 'revoke' }) }
    },
  })
}
