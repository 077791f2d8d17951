/** The audit log: filters, pages by cursor, the state of its seal, and a verification on request. */
import { setTimeout as pause } from 'node:timers/promises'
import { type Html, html } from '../../identity/pages/html.ts'
import { type Fields, field, type Page } from '../../identity/pages/page-kit.ts'
import { findUserNames } from '../../identity/users/users.repo.ts'
import { countUnsealed, findHead } from '../../platform/audit/batches.repo.ts'
import { headText } from '../../platform/audit/chain.ts'
import { type AuditFilter, type AuditView, findAuditPage } from '../../platform/audit/pages.repo.ts'
import { type FieldCode, type FieldError, Problem } from '../../platform/lib/errors.ts'
import { isId } from '../../platform/lib/ids.ts'
import { isStorable } from '../../platform/lib/timestamps.ts'
import { ageText } from '../../platform/texts/durations.ts'
import { type AuditCheckState, createAuditCheck } from './audit-check.ts'
import { badge, confirmation, facts, instant, link, outcomeOf, pager, table, when } from './elements.ts'
import { nameOf } from './guard.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

const PAGE_SIZE = 50
/** A short log is verified before the page comes back. */
const WAIT_MS = 3000

export const auditSection = (parts: ConsoleParts): ConsoleSection => ({
  path: '/audit',
  text: 'console.audit',
  pages(app, kit) {
    const { base, read } = parts
    const path = `${base}/audit`
    const check = createAuditCheck(parts)
    const readFilter = filterReader(parts)
    kit.define(app, {
      path: '/audit',
      name: 'console.audit',
      for: 'user',
      async show(page) {
        const { text, query } = page
        const { filter, errors } = await readFilter(query)
        const found = errors.length > 0 ? null : await findPage(read, filter, query, errors)
        const list = {
          user: query.user,
          event: query.event,
          outcome: query.outcome,
          actor: query.actor,
          since: query.since,
          until: query.until,
        }
        return {
          title: text('console.audit'),
          ...(errors.length > 0 && { status: 422 }),
          body: html`${await sealOf(page, parts, check.state())}
${filters(page, path, errors)}
${found && (found.events.length === 0 ? html`<p class="none">${text('audit.none')}</p>` : await eventsTable(page, parts, found.events))}
${found && pager(page, query.cursor === undefined ? null : link(path, list), found.nextCursor === null ? null : link(path, { ...list, cursor: found.nextCursor }))}`,
        }
      },
    })
    kit.define(app, {
      path: '/audit/verify',
      name: 'console.audit.verify',
      for: 'user',
      show: (page) => ({
        title: page.text('audit.verify-title'),
        body: confirmation(page, {
          what: html`<p>${page.text('audit.verify-what')}</p>`,
          submit: page.text('audit.verify'),
          isDanger: false,
          cancel: path,
        }),
      }),
      async submit() {
        await Promise.race([check.run(), pause(WAIT_MS, undefined, { ref: false })])
        return { to: path }
      },
    })
  },
})

/** @returns null when the cursor is not from a page: then `errors` has the reason */
async function findPage(read: ConsoleParts['read'], filter: AuditFilter, { cursor }: Fields, errors: FieldError[]) {
  try {
    return await read((db) => findAuditPage(db, { ...filter, cursor, limit: PAGE_SIZE }))
  } catch (error) {
    if (!(error instanceof Problem && error.code === 'validation_failed')) throw error
    errors.push(...error.errors!)
    return null
  }
}

/** In UTC, with or without Z. The field of a browser has no zone, and the table has a blank in place of the T. */
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)Z?)?$/

/** @returns reads the filters of a query; `errors` has those that cannot be read */
function filterReader({ administration }: ConsoleParts): (query: Fields) => Promise<{ filter: AuditFilter; errors: FieldError[] }> {
  async function userIdOf(login: string): Promise<string | null> {
    // an id is not looked up: the log still has the events of a deleted user
    if (isId(login.toLowerCase())) return login.toLowerCase()
    try {
      return (await administration.find(login)).id
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'not_found')) throw error
      return null
    }
  }

  return async (query) => {
    const errors: FieldError[] = []
    const refuse = (name: string, code: FieldCode) => void errors.push({ field: name, code, detail: code })
    const term = (name: string, max: number): string | undefined => {
      const value = query[name]?.trim()
      if (!value) return undefined
      if (value.length > max) refuse(name, 'too_long')
      else if (value.includes('\0')) refuse(name, 'format')
      else return value
      return undefined
    }
    const time = (name: string): Date | undefined => {
      const value = term(name, 32)
      if (value === undefined) return undefined
      const [, day, clock = '00:00'] = TIME.exec(value) ?? []
      const at = new Date(day === undefined ? Number.NaN : `${day}T${clock}Z`)
      if (isStorable(at)) return at
      refuse(name, 'format')
      return undefined
    }
    const login = term('user', 254)
    const userId = login === undefined ? undefined : await userIdOf(login)
    if (userId === null) refuse('user', 'unknown')
    const filter = {
      userId: userId ?? undefined,
      event: term('event', 64),
      outcome: term('outcome', 64),
      actor: term('actor', 128),
      since: time('since'),
      until: time('until'),
    }
    return { filter, errors }
  }
}

async function sealOf({ text, language }: Page, { base, db, clock }: ConsoleParts, { isRunning, last }: AuditCheckState): Promise<Html> {
  const head = await findHead(db)
  const unsealed = await countUnsealed(db)
  const result = last && (last.found === null ? 'unknown' : last.found.faults > 0 ? 'broken' : 'intact')
  const verdict = isRunning
    ? badge(text('audit.verifying'))
    : result === null
      ? text('audit.not-verified')
      : html`${badge(text(`audit.${result}`), result === 'intact' ? 'good' : 'bad')} ${when(last!.at, language)}${
          last!.found &&
          html` <span class="soft">${text('audit.verified-rows', { rows: last!.found.rows, batches: last!.found.batches })}</span>`
        }`
  return html`<section class="seal" aria-labelledby="seal"><h2 id="seal">${text('audit.seal')}</h2>
${facts([
  [
    text('audit.last-seal'),
    head
      ? html`${ageText(head.sealed_at, clock.now(), language)} <span class="soft">${when(head.sealed_at, language)}</span>`
      : text('audit.no-seal'),
  ],
  [text('audit.head'), head && html`<code class="head">${headText(head)}</code>`],
  [text('audit.unsealed'), String(unsealed)],
  [text('audit.check'), verdict],
])}
${last && last.faults.length > 0 && html`<ul class="faults">${last.faults.map(({ kind, detail }) => html`<li><strong>${kind}</strong>: ${detail}</li>`)}</ul>`}
<p class="actions"><a class="button quiet small" href="${base}/audit/verify">${text('audit.verify')}</a></p></section>`
}

function filters(page: Page, path: string, errors: readonly FieldError[]): Html {
  const { text, query } = page
  const typed: Page = { ...page, form: { typed: query, errors, problem: null } }
  const options = { autocomplete: 'off', isOptional: true } as const
  const isBadCursor = errors.some((error) => error.field === 'cursor')
  return html`${isBadCursor && html`<p class="notice bad" role="alert">${text('audit.bad-cursor')}</p>`}
<form class="filters level" method="get" action="${path}" role="search">
<div>${field(typed, { name: 'event', label: 'console.event', ...options })}</div>
<div>${field(typed, { name: 'outcome', label: 'console.outcome', ...options })}</div>
<div>${field(typed, { name: 'user', label: 'console.user', ...options })}</div>
<div>${field(typed, { name: 'actor', label: 'console.actor', ...options })}</div>
<div>${field(typed, { name: 'since', label: 'audit.since', ...options })}</div>
<div>${field(typed, { name: 'until', label: 'audit.until', ...options })}</div>
<p class="hint actions">${text('audit.time-form')}</p>
<div class="actions"><button class="small">${text('console.filter')}</button> <a class="button quiet small" href="${path}">${text('console.filter-clear')}</a></div>
</form>`
}

async function eventsTable({ text }: Page, { base, db }: ConsoleParts, events: readonly AuditView[]): Promise<Html> {
  const actorId = ({ actor }: AuditView) => /^user:(.+)$/.exec(actor ?? '')?.[1] ?? null
  const ids = events.flatMap((event) => [event.user_id, actorId(event)]).filter((id) => id !== null && isId(id)) as string[]
  const names = new Map((await findUserNames(db, [...new Set(ids)])).map((user) => [user.id, nameOf(user)]))
  const person = (id: string | null): Html | null => {
    if (id === null) return null
    const name = names.get(id)
    // the account of a deleted user is gone, and its events stay
    return name === undefined ? html`<code>${id}</code>` : html`<a href="${base}/users/${id}">${name}</a>`
  }
  return table(
    text('console.audit'),
    [
      text('console.at'),
      text('console.event'),
      text('console.outcome'),
      text('console.user'),
      text('console.actor'),
      text('audit.detail'),
      text('console.address'),
    ],
    events.map((event) => [
      html`<time datetime="${event.at}">${instant(event.at)}</time>`,
      html`<code class="whole">${event.event}</code>`,
      outcomeOf(event.outcome),
      html`${person(event.user_id)}${event.user_id !== null && html`<br><a class="soft" href="${link(`${base}/audit`, { user: event.user_id })}">${text('audit.of-user')}</a>`}`,
      event.actor === null ? '' : (person(actorId(event)) ?? event.actor),
      event.detail,
      html`${event.ip}${event.request_id !== null && html`<br><code class="soft">${event.request_id}</code>`}`,
    ]),
  )
}
