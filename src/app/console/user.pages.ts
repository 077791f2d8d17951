/** One user: everything that an operator needs to know, what can be done, and the metadata. */
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { viewOfSession } from '../../identity/accounts/sessions.service.ts'
import { actorOf } from '../../identity/admin/users.routes.ts'
import { viewOfApiKey } from '../../identity/api-keys/api-keys.service.ts'
import { type Html, html } from '../../identity/pages/html.ts'
import { type Fields, formNotice, type Page, type PageKit, refusalOf } from '../../identity/pages/page-kit.ts'
import { metadataViewOf } from '../../identity/users/metadata.ts'
import { createRoles, knownRoles } from '../../identity/users/roles.ts'
import type { User } from '../../identity/users/users.repo.ts'
import { findAuditPage } from '../../platform/audit/pages.repo.ts'
import { countryName } from '../../platform/geo/country-codes.ts'
import { type FieldError, invalidField, problem } from '../../platform/lib/errors.ts'
import { deviceIn } from '../../platform/texts/device-text.ts'
import { badge, doneNotice, facts, link, outcomeOf, table, textArea, when } from './elements.ts'
import { nameOf } from './guard.ts'
import { mergePatchBetween } from './merge-patch.ts'
import type { ConsoleParts } from './section.ts'
import { DONE, USER_ACTIONS } from './user-actions.pages.ts'
import { stateBadges, userOf } from './user-parts.ts'

const MAX_EVENTS = 10

export function defineUser(app: FastifyInstance, kit: PageKit, parts: ConsoleParts): void {
  const { base, administration, config, db } = parts
  const { roles } = config.auth
  const grantsOf = createRoles(roles)
  const pathOf = (user: User) => `${base}/users/${user.id}`

  kit.define(app, {
    path: '/users/:id',
    name: 'console.user',
    for: 'user',
    async show(page) {
      const user = await userOf(page, parts)
      const { text, language } = page
      const [sessions, apiKeys, { events }] = await Promise.all([
        administration.sessionsOf(user.id),
        administration.apiKeysOf(user.id),
        findAuditPage(db, { userId: user.id, limit: MAX_EVENTS }),
      ])
      const path = pathOf(user)
      const badges = stateBadges(user, text, { withAddress: false })
      return {
        title: nameOf(user),
        body: html`${doneNotice(page, DONE)}
${badges.length > 0 && html`<p>${badges}</p>`}
${facts([
  [text('field.email'), html`${user.email} ${addressState(user, page)}`],
  [text('field.username'), user.username],
  [text('console.created'), when(user.created_at, language)],
  [text('console.last-login'), when(user.last_login_at, language)],
  [text('console.disabled-since'), user.disabled_at && when(user.disabled_at, language)],
  [text('console.id'), html`<code>${user.id}</code>`],
])}
<h2>${text('console.actions')}</h2>
${actions(page, path, user)}
<h2>${text('console.roles')}</h2>
${rolesOf(page, path, user)}
<h2>${text('console.sessions')}</h2>
${sessionsOf(page, path, sessions.map(viewOfSession))}
<h2>${text('console.api-keys')}</h2>
${apiKeysOf(page, path, apiKeys.map(viewOfApiKey))}
<h2>${text('console.metadata')}</h2>
${facts(
  Object.entries(metadataViewOf(user.metadata)).map(
    ([part, value]) =>
      [
        text(`console.metadata-${part}` as 'console.metadata-public'),
        html`<pre class="code">${JSON.stringify(value, null, 2)}</pre>`,
      ] as const,
  ),
)}
<p class="actions"><a class="button quiet small" href="${path}/metadata">${text('console.metadata-edit')}</a></p>
<h2>${text('console.user-events')}</h2>
${
  events.length === 0
    ? html`<p class="none">${text('console.none')}</p>`
    : table(
        text('console.user-events'),
        [text('console.at'), text('console.event'), text('console.outcome'), text('console.actor'), text('console.address')],
        events.map(({ at, event, outcome, actor, ip }) => [
          when(at, language),
          html`<code>${event}</code>`,
          outcomeOf(outcome),
          actor ?? '–',
          ip ?? '–',
        ]),
      )
}
<p><a href="${link(`${base}/audit`, { user: user.id })}">${text('console.user-all-events')}</a></p>`,
      }
    },
  })

  function addressState({ email_verified_at, is_email_vouched }: User, { text, language }: Page): Html {
    if (email_verified_at) return html`<span class="soft">${text('console.verified-at')} ${when(email_verified_at, language)}</span>`
    return badge(text(is_email_vouched ? 'console.address-vouched' : 'console.users-address-unverified'))
  }

  /** Each leads to a page that says what will happen. */
  const actions = ({ text }: Page, path: string, user: User): Html =>
    html`<p class="actions">${USER_ACTIONS.filter(({ isPossible }) => isPossible(user)).map(
      ({ name }) =>
        html`<a class="button quiet small${['disable', 'delete'].includes(name) && ' danger'}" href="${path}/${name}">${text(`console.user.${name}`)}</a> `,
    )}</p>`

  function rolesOf({ text }: Page, path: string, user: User): Html {
    const { roles: all, scopes } = grantsOf(user.roles)
    const inherited = all.filter((role) => !user.roles.includes(role))
    const possible = knownRoles(roles).filter((role) => !user.roles.includes(role))
    return html`${
      user.roles.length === 0
        ? html`<p class="none">${text('console.none')}</p>`
        : html`<ul class="chips">${[...user.roles]
            .sort()
            .map(
              (role) =>
                html`<li>${badge(role, role === 'admin' ? 'good' : 'plain')} <a href="${link(`${path}/revoke`, { role })}">${text('console.role-revoke', { role })}</a></li>`,
            )}</ul>`
    }
${facts([
  [text('console.roles-inherited'), inherited.join(', ') || null],
  [text('console.scopes'), scopes.join(' ') || null],
])}
${
  possible.length > 0 &&
  html`<form class="inline" method="get" action="${path}/grant"><label for="role">${text('console.role-add')}</label><select id="role" name="role">${possible.map(
    (role) => html`<option>${role}</option>`,
  )}</select><button class="quiet small">${text('console.role-grant')}</button></form>`
}`
  }

  const sessionsOf = ({ text, language }: Page, path: string, sessions: readonly ReturnType<typeof viewOfSession>[]): Html =>
    sessions.length === 0
      ? html`<p class="none">${text('console.none')}</p>`
      : table(
          text('console.sessions'),
          [
            text('console.device'),
            text('console.address'),
            text('console.country'),
            text('console.factor'),
            text('console.began'),
            text('console.last-used'),
            text('console.action'),
          ],
          sessions.map(({ id, device, ip, country, mfa, created_at, last_used_at }) => [
            device === null ? text('console.device-unknown') : deviceIn(device, language),
            ip ?? '–',
            country === null ? '–' : countryName(country, language.code),
            mfa ? text('console.yes') : text('console.no'),
            when(created_at, language),
            when(last_used_at, language),
            html`<a href="${link(`${path}/end-session`, { session: id })}">${text('console.session-end')}</a>`,
          ]),
        )

  const apiKeysOf = ({ text, language }: Page, path: string, keys: readonly ReturnType<typeof viewOfApiKey>[]): Html =>
    keys.length === 0
      ? html`<p class="none">${text('console.none')}</p>`
      : table(
          text('console.api-keys'),
          [
            text('console.name-of'),
            text('console.roles'),
            text('console.created'),
            text('console.expires'),
            text('console.last-used'),
            text('console.action'),
          ],
          keys.map(({ id, name, hint, roles: of, scopes, created_at, expires_at, last_used_at }) => [
            html`${name}<br><span class="code soft">${hint}…</span>`,
            [...of, ...scopes].join(' '),
            when(created_at, language),
            expires_at === null ? text('console.never') : when(expires_at, language),
            when(last_used_at, language),
            html`<a href="${link(`${path}/revoke-key`, { key: id })}">${text('console.api-key-revoke')}</a>`,
          ]),
        )

  kit.define(app, {
    path: '/users/:id/metadata',
    name: 'console.user.metadata',
    for: 'user',
    async show(page) {
      const user = await userOf(page, parts)
      const { text } = page
      const metadata = metadataViewOf(user.metadata)
      return {
        title: text('console.metadata-of', { name: nameOf(user) }),
        body: html`${formNotice(page)}<form method="post">
<input type="hidden" name="seen" value="${stampOf(metadata)}">
${PARTS.map((part) =>
  textArea(page, {
    name: part,
    label: `console.metadata-${part}`,
    hint: text(`console.metadata-${part}-hint`),
    value: JSON.stringify(metadata[part], null, 2),
    rows: 8,
    error: errorOf(page, part),
  }),
)}
<p class="actions"><button>${text('console.save')}</button> <a class="button quiet" href="${pathOf(user)}">${text('console.cancel')}</a></p>
</form>`,
      }
    },
    async submit(page, fields) {
      const user = await userOf(page, parts)
      const before = metadataViewOf(user.metadata)
      const wanted = readParts(fields)
      if (fields.seen !== stampOf(before)) throw invalidField('public', 'not_allowed', CHANGED_MEANWHILE)
      const patch = mergePatchBetween(before, wanted)
      if (Object.keys(patch).length > 0) await administration.patchMetadata(user.id, patch, actorOf(page.request))
      return { to: link(pathOf(user), { done: 'metadata' }) }
    },
  })
}

const PARTS = ['public', 'admin'] as const
type PartName = (typeof PARTS)[number]

const CHANGED_MEANWHILE = 'changed meanwhile'

/** Shows that the metadata are still those that the form showed. */
const stampOf = (metadata: object): string => createHash('sha256').update(JSON.stringify(metadata)).digest('base64url').slice(0, 16)

/** @throws validation_failed at the field that is no JSON object */
function readParts(fields: Fields): Record<PartName, Record<string, unknown>> {
  const errors: FieldError[] = []
  const read = (part: PartName): Record<string, unknown> => {
    try {
      const value: unknown = JSON.parse(fields[part] ?? '{}')
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
        // a merge patch cannot write a null: there, null removes
        if (hasNull(value)) errors.push({ field: part, code: 'not_allowed', detail: 'null' })
        return value as Record<string, unknown>
      }
      errors.push({ field: part, code: 'type', detail: 'must be a JSON object' })
    } catch (error) {
      errors.push({ field: part, code: 'format', detail: (error as Error).message })
    }
    return {}
  }
  const values = { public: read('public'), admin: read('admin') }
  if (errors.length) throw problem('validation_failed', { errors })
  return values
}

/** A null outside of lists: RFC 7396 takes lists as they are. */
const hasNull = (value: object): boolean =>
  Object.values(value).some((member) => member === null || (typeof member === 'object' && !Array.isArray(member) && hasNull(member)))

/** The error of the service names the whole metadata, or one value of a part. */
function errorOf({ form, text, language }: Page, part: PartName): string | undefined {
  const error = form.errors.find(({ field }) => field === part || field === 'metadata' || field.startsWith(`metadata.${part}`))
  if (!error) return undefined
  if (error.field !== part) return `${error.field} ${refusalOf(error, language)}.`
  if (error.detail === CHANGED_MEANWHILE) return text('console.metadata-changed')
  if (error.detail === 'null') return text('console.metadata-null')
  if (error.code === 'type') return text('console.metadata-type')
  return text('console.metadata-json', { reason: error.detail })
}
