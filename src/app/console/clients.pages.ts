/** The machine clients: a list, a form for a new client, and a page of each client. */
import type { FastifyInstance } from 'fastify'
import { actorOf } from '../../identity/admin/users.routes.ts'
import type { ClientView, ClientWithSecret } from '../../identity/oauth/clients.service.ts'
import { type Html, html } from '../../identity/pages/html.ts'
import type { View } from '../../identity/pages/layout.ts'
import { field, formNotice, type Page, type PageKit, refusalOf } from '../../identity/pages/page-kit.ts'
import { invalidField } from '../../platform/lib/errors.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import { badge, confirmation, doneNotice, facts, link, table, textArea, when } from './elements.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export const clientsSection = (parts: ConsoleParts): ConsoleSection => ({
  path: '/clients',
  text: 'console.clients',
  pages(app, kit) {
    defineList(app, kit, parts)
    defineNew(app, kit, parts)
    defineClient(app, kit, parts)
    for (const action of ACTIONS) defineAction(app, kit, parts, action)
  },
})

const DONE: { readonly [done: string]: TextKey } = {
  create: 'console.client.create-done',
  disable: 'console.client.disable-done',
  enable: 'console.client.enable-done',
  delete: 'console.client.delete-done',
}

/** @throws not_found */
const clientOf = ({ request }: Page, { clients }: ConsoleParts): Promise<ClientView> => clients.find((request.params as { id: string }).id)

const state = ({ disabled }: ClientView, { text }: Page): Html =>
  disabled ? badge(text('console.users-state-disabled'), 'bad') : badge(text('console.users-state-active'), 'good')

function defineList(app: FastifyInstance, kit: PageKit, { base, clients }: ConsoleParts): void {
  kit.define(app, {
    path: '/clients',
    name: 'console.clients',
    for: 'user',
    async show(page) {
      const { text, language } = page
      const all = await clients.list()
      return {
        title: text('console.clients'),
        body: html`${doneNotice(page, DONE)}<p class="lead">${text('console.clients-what')}</p>
<p class="actions"><a class="button" href="${base}/clients/new">${text('console.clients-new')}</a></p>
${
  all.length === 0
    ? html`<p class="none">${text('console.clients-none')}</p>`
    : table(
        text('console.clients'),
        [text('console.name-of'), text('console.users-state'), text('console.roles'), text('console.scopes'), text('console.last-used')],
        all.map((client) => [
          html`<a href="${base}/clients/${client.id}">${client.name}</a>`,
          state(client, page),
          client.roles.map((role) => html`${badge(role)} `),
          client.scopes.join(' '),
          when(client.last_used_at, language),
        ]),
      )
}`,
      }
    },
  })
}

function defineNew(app: FastifyInstance, kit: PageKit, { base, clients }: ConsoleParts): void {
  kit.define(app, {
    path: '/clients/new',
    name: 'console.clients.new',
    for: 'user',
    show(page) {
      const { text, form, language } = page
      const error = form.errors.find((e) => e.field === 'jwks' || e.field.startsWith('jwks.'))
      return {
        title: text('console.clients-new'),
        body: html`${formNotice(page)}<form method="post" class="narrow">
${field(page, { name: 'name', label: 'console.name-of', autocomplete: 'off', maxLength: 64 })}
${field(page, { name: 'roles', label: 'console.roles', autocomplete: 'off', isOptional: true, hint: text('console.client-roles-hint') })}
${field(page, { name: 'scopes', label: 'console.scopes', autocomplete: 'off', isOptional: true, hint: text('console.client-scopes-hint') })}
${textArea(page, {
  name: 'jwks',
  label: 'console.client-jwks',
  hint: text('console.client-jwks-hint'),
  value: '',
  rows: 4,
  error: error && (error.detail === NOT_JSON ? text('console.metadata-type') : `${error.field} ${refusalOf(error, language)}.`),
})}
<p class="actions"><button>${text('console.clients-create')}</button> <a class="button quiet" href="${base}/clients">${text('console.cancel')}</a></p>
</form>`,
      }
    },
    async submit(page, { name = '', roles, scopes, jwks }) {
      const input = { name, roles: wordsOf(roles), scopes: wordsOf(scopes), ...(jwks === undefined ? {} : { jwks: parseJwks(jwks) }) }
      const made = await clients.create(input, actorOf(page.request))
      return made.client_secret === undefined
        ? { to: link(`${base}/clients/${made.client.id}`, { done: 'create' }) }
        : secretPage(page, base, made)
    },
  })
}

const NOT_JSON = 'must be a JSON object'

const wordsOf = (text = ''): string[] => text.split(/[\s,]+/).filter(Boolean)

function parseJwks(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw invalidField('jwks', 'format', NOT_JSON)
  }
}

/** Only this page shows the secret. */
const secretPage = ({ text }: Page, base: string, { client, client_secret }: ClientWithSecret): View => ({
  title: text('console.client-secret-of', { name: client.name }),
  body: html`<p>${text('console.client-secret-once')}</p>
${facts([
  ['client_id', html`<code>${client.id}</code>`],
  ['client_secret', html`<code class="secret">${client_secret}</code>`],
])}
<p class="actions"><a class="button" href="${base}/clients/${client.id}">${text('console.secret-stored')}</a></p>`,
})

function defineClient(app: FastifyInstance, kit: PageKit, parts: ConsoleParts): void {
  const { base } = parts
  kit.define(app, {
    path: '/clients/:id',
    name: 'console.client',
    for: 'user',
    async show(page) {
      const client = await clientOf(page, parts)
      const { text, language } = page
      const path = `${base}/clients/${client.id}`
      return {
        title: client.name,
        body: html`${doneNotice(page, DONE)}
${facts([
  [text('console.users-state'), state(client, page)],
  ['client_id', html`<code>${client.id}</code>`],
  [text('console.client-method'), html`<code>${client.auth_method}</code>`],
  [text('console.roles'), client.roles.join(', ') || text('console.none')],
  [text('console.scopes'), client.scopes.join(' ') || text('console.none')],
  [text('console.created'), when(client.created_at, language)],
  [text('console.last-used'), when(client.last_used_at, language)],
  [text('console.client-jwks'), client.jwks && html`<pre class="code">${JSON.stringify(client.jwks, null, 2)}</pre>`],
])}
<h2>${text('console.actions')}</h2>
<p class="actions">${ACTIONS.filter(({ isPossible }) => isPossible(client)).map(
          ({ name, isDanger }) =>
            html`<a class="button quiet small${isDanger && ' danger'}" href="${path}/${name}">${text(`console.client.${name}`)}</a> `,
        )}</p>
<p><a href="${link(`${base}/audit`, { actor: `client:${client.id}` })}">${text('console.user-all-events')}</a></p>`,
      }
    },
  })
}

interface Action {
  name: 'rotate-secret' | 'disable' | 'enable' | 'delete'
  isDanger: boolean
  isPossible(client: ClientView): boolean
}

const ACTIONS: readonly Action[] = [
  { name: 'rotate-secret', isDanger: true, isPossible: () => true },
  { name: 'enable', isDanger: false, isPossible: ({ disabled }) => disabled },
  { name: 'disable', isDanger: true, isPossible: ({ disabled }) => !disabled },
  { name: 'delete', isDanger: true, isPossible: () => true },
]

function defineAction(app: FastifyInstance, kit: PageKit, parts: ConsoleParts, { name, isDanger }: Action): void {
  const { base, clients } = parts
  kit.define(app, {
    path: `/clients/:id/${name}`,
    name: `console.client.${name}`,
    for: 'user',
    async show(page) {
      const client = await clientOf(page, parts)
      const { text } = page
      const what = html`<p>${text(`console.client.${name}-what`)}</p>`
      return {
        title: text(`console.client.${name}-title`, { name: client.name }),
        body: confirmation(page, { what, submit: text(`console.client.${name}`), isDanger, cancel: `${base}/clients/${client.id}` }),
      }
    },
    async submit(page) {
      const { id } = await clientOf(page, parts)
      const by = actorOf(page.request)
      if (name === 'rotate-secret') return secretPage(page, base, await clients.rotateSecret(id, by))
      if (name === 'delete') {
        await clients.remove(id, by)
        return { to: link(`${base}/clients`, { done: 'delete' }) }
      }
      await clients[name](id, by)
      return { to: link(`${base}/clients/${id}`, { done: name }) }
    },
  })
}
