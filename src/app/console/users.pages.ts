/** The users: a list with search, filters, order and pages by cursor; and the form for a new user. */
import { actorOf } from '../../identity/admin/users.routes.ts'
import { type Html, html } from '../../identity/pages/html.ts'
import { type Fields, field, formNotice, type Page, type PageKit } from '../../identity/pages/page-kit.ts'
import { knownRoles } from '../../identity/users/roles.ts'
import { USER_ORDERS, type User, type UserFilter, type UserOrder } from '../../identity/users/users.repo.ts'
import { isId } from '../../platform/lib/ids.ts'
import { badge, type Choice, doneNotice, facts, link, pager, select, table, when } from './elements.ts'
import { nameOf } from './guard.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'
import { defineUser } from './user.pages.ts'
import { defineUserActions } from './user-actions.pages.ts'
import { stateBadges } from './user-parts.ts'

const PAGE_SIZE = 50
const MAX_SEARCH = 254

export const usersSection = (parts: ConsoleParts): ConsoleSection => ({
  path: '/users',
  text: 'console.users',
  pages(app, kit) {
    kit.define(app, usersPage(parts))
    kit.define(app, newUserPage(parts))
    defineUser(app, kit, parts)
    defineUserActions(app, kit, parts)
  },
})

type Definition = Parameters<PageKit['define']>[1]

/** The filters that a query may have, with their values. */
const FILTERS = { state: ['active', 'disabled'], address: ['verified', 'unverified'], factor: ['with', 'without'] } as const
type FilterName = keyof typeof FILTERS

const usersPage = ({ base, administration, config }: ConsoleParts): Definition => ({
  path: '/users',
  name: 'console.users',
  for: 'user',
  async show(page) {
    const { text, query } = page
    const list = readList(query)
    const { users, nextCursor } = await administration.list(filterOf(list), PAGE_SIZE, list.cursor, list.order)
    const { cursor, ...shown } = list
    const path = `${base}/users`
    return {
      title: text('console.users'),
      body: html`${doneNotice(page, { delete: 'console.user.delete-done' })}<p class="actions"><a class="button" href="${path}/new">${text('console.users-new')}</a></p>
${filters(page, path, list, knownRoles(config.auth.roles))}
${users.length === 0 ? html`<p class="none">${text('console.users-none')}</p>` : usersTable(page, path, users)}
${pager(page, cursor === undefined ? null : link(path, shown), nextCursor === null ? null : link(path, { ...shown, cursor: nextCursor }))}`,
    }
  },
})

interface List extends Record<FilterName, string | undefined> {
  search: string | undefined
  role: string | undefined
  order: UserOrder
  cursor: string | undefined
}

/** What cannot be read is left out: the address of a page may be typed. */
function readList(query: Fields): List {
  const oneOf = <T extends string>(values: readonly T[], value: string | undefined) => values.find((known) => known === value)
  const order = oneOf(USER_ORDERS, query.order) ?? 'newest'
  const { search, role, cursor } = query
  const isText = (value: string | undefined, max: number) =>
    value !== undefined && value !== '' && value.length <= max && !value.includes('\0')
  return {
    search: isText(search?.trim(), MAX_SEARCH) ? search!.trim() : undefined,
    role: isText(role, 63) ? role : undefined,
    state: oneOf(FILTERS.state, query.state),
    address: oneOf(FILTERS.address, query.address),
    factor: oneOf(FILTERS.factor, query.factor),
    order,
    cursor: isText(cursor, MAX_SEARCH) && (order === 'email' || isId(cursor!)) ? cursor : undefined,
  }
}

const filterOf = ({ search, role, state, address, factor }: List): UserFilter => ({
  search,
  role,
  isDisabled: state === undefined ? undefined : state === 'disabled',
  isVerified: address === undefined ? undefined : address === 'verified',
  hasFactor: factor === undefined ? undefined : factor === 'with',
})

function filters({ text }: Page, path: string, list: List, roles: readonly string[]): Html {
  const all: Choice = { value: '', text: text('console.all') }
  const choices = (name: FilterName): Choice[] => [
    all,
    ...FILTERS[name].map((value) => ({ value, text: text(`console.users-${name}-${value}` as Parameters<typeof text>[0]) })),
  ]
  return html`<form class="filters" method="get" action="${path}" role="search">
<div class="grow"><label for="search">${text('console.search')}</label><input id="search" name="search" type="search" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="${MAX_SEARCH}" value="${list.search ?? ''}" aria-describedby="search-hint"><p class="hint" id="search-hint">${text('console.users-search-hint')}</p></div>
${select('role', text('console.role'), [all, ...roles.map((role) => ({ value: role, text: role }))], list.role)}
${select('state', text('console.users-state'), choices('state'), list.state)}
${select('address', text('field.email'), choices('address'), list.address)}
${select('factor', text('console.factor'), choices('factor'), list.factor)}
${select(
  'order',
  text('console.order'),
  USER_ORDERS.map((order) => ({ value: order, text: text(`console.users-order-${order}`) })),
  list.order,
)}
<div class="actions"><button class="small">${text('console.filter')}</button> <a class="button quiet small" href="${path}">${text('console.filter-clear')}</a></div>
</form>`
}

function usersTable({ text, language }: Page, path: string, users: readonly User[]): Html {
  return table(
    text('console.users'),
    [text('console.user'), text('console.roles'), text('console.users-state'), text('console.created'), text('console.last-login')],
    users.map((user) => [
      html`<a href="${path}/${user.id}">${nameOf(user)}</a>${user.username !== null && html`<br><span class="soft">${user.email}</span>`}`,
      [...user.roles].sort().map((role) => html`${badge(role, role === 'admin' ? 'good' : 'plain')} `),
      stateBadges(user, text),
      when(user.created_at, language),
      when(user.last_login_at, language),
    ]),
  )
}

const newUserPage = ({ base, administration, config }: ConsoleParts): Definition => {
  const { username: usernames, roles } = config.auth
  return {
    path: '/users/new',
    name: 'console.users.new',
    for: 'user',
    show(page) {
      const { text, form } = page
      const isChosen = (role: string) => (form.problem ? form.typed[`role:${role}`] === 'on' : role === 'user')
      return {
        title: text('console.users-new'),
        body: html`${formNotice(page)}<form method="post" class="narrow">
${usernames !== 'off' && field(page, { name: 'username', label: 'field.username', autocomplete: 'off', isOptional: usernames === 'optional' })}
${field(page, { name: 'email', label: 'field.email', type: 'email', autocomplete: 'off' })}
${field(page, { name: 'password', label: 'console.first-password', type: 'password', autocomplete: 'new-password', isOptional: true, hint: text('console.first-password-hint') })}
<fieldset><legend>${text('console.roles')}</legend>${knownRoles(roles).map(
          (role) =>
            html`<label class="check"><input type="checkbox" name="role:${role}"${isChosen(role) && html` checked`}> ${role}</label>`,
        )}</fieldset>
<p class="actions"><button>${text('console.users-create')}</button> <a class="button quiet" href="${base}/users">${text('console.cancel')}</a></p>
</form>`,
      }
    },
    async submit({ request, text }, { username, email = '', password, ...more }) {
      const chosen = knownRoles(roles).filter((role) => more[`role:${role}`] === 'on')
      const input = { username: usernames === 'off' ? undefined : username, email, password, roles: chosen, mustChangePassword: true }
      const { user, password: generated } = await administration.create(input, actorOf(request))
      if (generated === null) return { to: link(`${base}/users/${user.id}`, { done: 'create' }) }
      return {
        title: text('console.users-created'),
        body: html`<p>${text('console.users-created-why', { name: nameOf(user) })}</p>
${facts([
  [text('field.login'), user.email],
  [text('console.first-password'), html`<code class="secret">${generated}</code>`],
])}
<p class="actions"><a class="button" href="${base}/users/${user.id}">${text('console.users-created-next')}</a></p>`,
      }
    },
  }
}
