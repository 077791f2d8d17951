/** Parts that many pages of the console share. */
import { type Html, html, type Part } from '../../identity/pages/html.ts'
import type { View } from '../../identity/pages/layout.ts'
import { formNotice, messageOf, notice, type Page, withoutChallenge } from '../../identity/pages/page-kit.ts'
import type { Problem } from '../../platform/lib/errors.ts'
import type { TextKey } from '../../platform/texts/en.ts'
import type { Language } from '../../platform/texts/texts.ts'

const LOCALES: Record<string, string> = { en: 'en-GB' }

/** A time in UTC; the foot of each page says so. Null: a dash. */
export function when(at: Date | string | null, { code }: Pick<Language, 'code'>): Html {
  if (at === null) return html`<span class="none">–</span>`
  const time = new Date(at)
  const shown = time.toLocaleString(LOCALES[code] ?? code, {
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
    timeZone: 'UTC',
  })
  return html`<time datetime="${time.toISOString()}" title="${time.toISOString()}">${shown}</time>`
}

/** A time in UTC with its seconds, for lists of many events. */
export const instant = (at: string): string => at.replace('T', ' ').replace(/(?:\.\d+)?Z$/, '')

/** Names and values. Values that are null or false are left out. */
export const facts = (rows: readonly (readonly [name: string, value: Part])[]): Html =>
  html`<dl class="facts">${rows
    .filter(([, value]) => value !== null && value !== undefined && value !== false)
    .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`

export type BadgeKind = 'good' | 'bad' | 'plain'

export const badge = (text: string, kind: BadgeKind = 'plain'): Html => html`<span class="badge ${kind}">${text}</span>`

/** The outcome of an event: what was refused stands out. */
export const outcomeOf = (outcome: string): Part => (outcome === 'success' ? outcome : badge(outcome, 'bad'))

/** A table that scrolls sideways where the page is narrow. @param label names it for readers of the screen */
export const table = (label: string, heads: readonly Part[], rows: readonly (readonly Part[])[]): Html =>
  html`<div class="scroll" role="region" aria-label="${label}" tabindex="0"><table class="dense">
<thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>${rows.map((cells) => html`<tr>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody>
</table></div>`

/** A path with its query. Parameters without a value are left out. */
export function link(path: string, parameters: { readonly [name: string]: string | undefined }): string {
  const query = new URLSearchParams(Object.entries(parameters).filter((entry): entry is [string, string] => !!entry[1])).toString()
  return query === '' ? path : `${path}?${query}`
}

/** After a change: what was done. @param texts of the values that `done` of the query may have */
export function doneNotice({ query, text }: Page, texts: { readonly [done: string]: TextKey }): Html | null {
  const key = query.done !== undefined && Object.hasOwn(texts, query.done) ? texts[query.done] : undefined
  return key ? notice(text(key)) : null
}

/** In place of a page that cannot be shown. */
export function errorView(page: Pick<Page, 'reply' | 'language'>, error: Problem): View {
  page.reply.headers(withoutChallenge(error.headers))
  const { language } = page
  return { title: language.text('console.error'), status: error.status, body: html`<p>${messageOf(error, language)}</p>` }
}

export interface Confirmation {
  /** What will happen. */
  what: Part
  submit: string
  isDanger: boolean
  /** Where the reader goes who does not want it. */
  cancel: string
}

/** The body of a page that asks before something is done. The form goes to the page itself. */
export const confirmation = (page: Page, { what, submit, isDanger, cancel }: Confirmation): Html =>
  html`${formNotice(page)}<div class="ask">${what}</div>
<form method="post"><p class="actions"><button${isDanger && html` class="danger"`}>${submit}</button> <a class="button quiet" href="${cancel}">${page.text('console.cancel')}</a></p></form>`

export interface TextAreaOptions {
  name: string
  label: TextKey
  hint: string
  value: string
  rows: number
  /** Why it was refused, as a whole sentence. */
  error: string | undefined
}

/** A field of several lines, for code. */
export function textArea({ form, text }: Page, { name, label, hint, value, rows, error }: TextAreaOptions): Html {
  const described = error === undefined ? `${name}-hint` : `${name}-hint ${name}-error`
  return html`<label for="${name}">${text(label)}</label>
<p class="hint" id="${name}-hint">${hint}</p>
<textarea class="code" id="${name}" name="${name}" rows="${rows}" spellcheck="false" autocomplete="off" aria-describedby="${described}"${
    error !== undefined && html` aria-invalid="true"`
  }>
${form.typed[name] ?? value}</textarea>
${error !== undefined && html`<p class="error" id="${name}-error">${error}</p>`}`
}

export interface Choice {
  value: string
  text: string
}

/** A choice in a form of filters. */
export const select = (name: string, label: string, choices: readonly Choice[], chosen: string | undefined): Html =>
  html`<div><label for="${name}">${label}</label><select id="${name}" name="${name}">${choices.map(
    ({ value, text }) => html`<option value="${value}"${value === (chosen ?? '') && html` selected`}>${text}</option>`,
  )}</select></div>`

/** The links behind a list in pages. @param first the list without a cursor; null on the first page */
export const pager = ({ text }: Page, first: string | null, next: string | null): Html | null =>
  first === null && next === null
    ? null
    : html`<nav class="pager" aria-label="${text('console.pages')}">${first !== null && html`<a href="${first}">${text('console.first')}</a>`} ${
        next !== null && html`<a href="${next}" rel="next">${text('console.next')}</a>`
      }</nav>`
