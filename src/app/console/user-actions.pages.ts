/** What an operator does to a user. Each page says what will happen, and asks. */
import type { FastifyInstance } from 'fastify'
import { viewOfSession } from '../../identity/accounts/sessions.service.ts'
import type { Administration } from '../../identity/admin/administration.service.ts'
import type { Actor } from '../../identity/admin/audited-action.ts'
import { actorOf } from '../../identity/admin/users.routes.ts'
import { html, type Part } from '../../identity/pages/html.ts'
import type { Page, PageKit } from '../../identity/pages/page-kit.ts'
import { createRoles, knownRoles } from '../../identity/users/roles.ts'
import type { User } from '../../identity/users/users.repo.ts'
import { problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { deviceIn } from '../../platform/texts/device-text.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import { confirmation, facts, link, when } from './elements.ts'
import { nameOf } from './guard.ts'
import type { ConsoleParts } from './section.ts'
import { userOf } from './user-parts.ts'

type ActionName = 'disable' | 'enable' | 'unlock' | 'end-sessions' | 'force-password-change' | 'reset-factor' | 'delete'

export interface UserAction {
  name: ActionName
  isDanger: boolean
  isPossible(user: User): boolean
  run(administration: Administration, id: string, by: Actor): Promise<unknown>
}

const always = () => true

/** In the order of their buttons. */
export const USER_ACTIONS: readonly UserAction[] = [
  { name: 'unlock', isDanger: false, isPossible: always, run: (a, id, by) => a.unlock(id, by) },
  { name: 'enable', isDanger: false, isPossible: (user) => user.disabled_at !== null, run: (a, id, by) => a.enable(id, by) },
  { name: 'end-sessions', isDanger: true, isPossible: always, run: (a, id, by) => a.endSessions(id, by) },
  {
    name: 'force-password-change',
    isDanger: true,
    isPossible: (user) => !user.password_must_change,
    run: (a, id, by) => a.forcePasswordChange(id, by),
  },
  { name: 'reset-factor', isDanger: true, isPossible: (user) => user.mfa_enabled, run: (a, id, by) => a.resetFactor(id, by) },
  { name: 'disable', isDanger: true, isPossible: (user) => user.disabled_at === null, run: (a, id, by) => a.disable(id, by) },
  { name: 'delete', isDanger: true, isPossible: always, run: (a, id, by) => a.remove(id, by) },
]

/** The notices after a change, by the value of `done`. */
export const DONE: { readonly [done: string]: TextKey } = {
  create: 'console.user.create-done',
  grant: 'console.user.grant-done',
  revoke: 'console.user.revoke-done',
  'end-session': 'console.user.end-session-done',
  'revoke-key': 'console.user.revoke-key-done',
  metadata: 'page.saved',
  disable: 'console.user.disable-done',
  enable: 'console.user.enable-done',
  unlock: 'console.user.unlock-done',
  'end-sessions': 'console.user.end-sessions-done',
  'force-password-change': 'console.user.force-password-change-done',
  'reset-factor': 'console.user.reset-factor-done',
}

/** One page that asks. */
interface Ask {
  name: string
  title(page: Page, user: User): string
  what(page: Page, user: User): Part | Promise<Part>
  submit(page: Page): string
  isDanger: boolean
  /** The change ends sessions of the user, who may be the reader. */
  endsSessions: boolean
  run(page: Page, user: User, by: Actor): Promise<unknown>
  /** Where it leads. */
  next(user: User): string
}

export function defineUserActions(app: FastifyInstance, kit: PageKit, parts: ConsoleParts): void {
  const { base, administration, config } = parts
  const grantsOf = createRoles(config.auth.roles)
  const pathOf = (user: User) => `${base}/users/${user.id}`

  function define(ask: Ask): void {
    kit.define(app, {
      path: `/users/:id/${ask.name}`,
      name: `console.user.${ask.name}`,
      for: 'user',
      async show(page) {
        const user = await userOf(page, parts)
        const { text } = page
        const isOwn = ask.endsSessions && user.id === page.principal?.id
        const what = html`${await ask.what(page, user)}${isOwn && html`<p class="notice bad">${text('console.user.own')}</p>`}`
        return {
          title: ask.title(page, user),
          body: confirmation(page, { what, submit: ask.submit(page), isDanger: ask.isDanger, cancel: pathOf(user) }),
        }
      },
      async submit(page) {
        const user = await userOf(page, parts)
        await ask.run(page, user, actorOf(page.request))
        return { to: ask.next(user) }
      },
    })
  }

  const backTo = (name: string) => (user: User) => link(pathOf(user), { done: name })

  for (const { name, isDanger, run } of USER_ACTIONS)
    define({
      name,
      isDanger,
      endsSessions: !['enable', 'unlock'].includes(name),
      title: ({ text }, user) => text(`console.user.${name}-title`, { name: nameOf(user) }),
      what: ({ text }) => html`<p>${text(`console.user.${name}-what`)}</p>`,
      submit: ({ text }) => text(`console.user.${name}`),
      run: (_page, { id }, by) => run(administration, id, by),
      next: name === 'delete' ? () => link(`${base}/users`, { done: 'delete' }) : backTo(name),
    })

  define({
    name: 'grant',
    isDanger: false,
    endsSessions: false,
    title: ({ text, query }, user) => text('console.user.grant-title', { role: query.role ?? '', name: nameOf(user) }),
    what(page, user) {
      const role = page.query.role ?? ''
      if (!knownRoles(config.auth.roles).includes(role)) throw problem('not_found')
      const [before, after] = [grantsOf(user.roles), grantsOf([...user.roles, role])]
      const added = (list: 'roles' | 'scopes') => after[list].filter((item) => !before[list].includes(item))
      return html`<p>${page.text('console.user.grant-what')}</p>${facts([
        [page.text('console.roles-added'), added('roles').join(', ') || page.text('console.none')],
        [page.text('console.scopes-added'), added('scopes').join(' ') || page.text('console.none')],
      ])}`
    },
    submit: ({ text }) => text('console.role-grant'),
    run: ({ query }, { id }, by) => administration.grant(id, query.role ?? '', by),
    next: backTo('grant'),
  })

  define({
    name: 'revoke',
    isDanger: true,
    endsSessions: false,
    title: ({ text, query }, user) => text('console.user.revoke-title', { role: query.role ?? '', name: nameOf(user) }),
    what(page, user) {
      const role = page.query.role ?? ''
      if (!user.roles.includes(role)) throw problem('not_found')
      const [before, after] = [grantsOf(user.roles), grantsOf(user.roles.filter((r) => r !== role))]
      const lost = (list: 'roles' | 'scopes') => before[list].filter((item) => !after[list].includes(item))
      return html`<p>${page.text('console.user.revoke-what')}</p>${facts([
        [page.text('console.roles-lost'), lost('roles').join(', ') || page.text('console.none')],
        [page.text('console.scopes-lost'), lost('scopes').join(' ') || page.text('console.none')],
      ])}`
    },
    submit: ({ text }) => text('console.role-take'),
    run: ({ query }, { id }, by) => administration.revoke(id, query.role ?? '', by),
    next: backTo('revoke'),
  })

  define({
    name: 'end-session',
    isDanger: true,
    endsSessions: false,
    title: ({ text }, user) => text('console.user.end-session-title', { name: nameOf(user) }),
    async what({ text, query, language }, user) {
      const session = (await administration.sessionsOf(user.id)).find(({ id }) => id === query.session)
      if (!session) throw problem('not_found')
      const { device, ip, last_used_at } = viewOfSession(session)
      return html`<p>${text('console.user.end-session-what')}</p>${facts([
        [text('console.device'), device === null ? text('console.device-unknown') : deviceIn(device, language)],
        [text('console.address'), ip],
        [text('console.last-used'), when(last_used_at, language)],
      ])}`
    },
    submit: ({ text }) => text('console.session-end'),
    run: ({ query }, { id }, by) => administration.endSession(id, idOf(query.session), by),
    next: backTo('end-session'),
  })

  define({
    name: 'revoke-key',
    isDanger: true,
    endsSessions: false,
    title: ({ text }, user) => text('console.user.revoke-key-title', { name: nameOf(user) }),
    async what({ text, query, language }, user) {
      const key = (await administration.apiKeysOf(user.id)).find(({ id }) => id === query.key)
      if (!key) throw problem('not_found')
      return html`<p>${text('console.user.revoke-key-what')}</p>${facts([
        [text('console.name-of'), key.name],
        [text('console.created'), when(key.created_at, language)],
        [text('console.last-used'), when(key.last_used_at, language)],
      ])}`
    },
    submit: ({ text }) => text('console.api-key-revoke'),
    run: ({ query }, { id }, by) => administration.revokeApiKey(id, idOf(query.key), by),
    next: backTo('revoke-key'),
  })
}

/** @throws not_found for a text that is no id: the database would refuse it */
function idOf(text: string | undefined): string {
  if (text === undefined || !isId(text)) throw problem('not_found')
  return text
}
