/** The last refused and failed requests of all processes, newest first. Causes are those of the log: they hold no secret. */
import { type Html, html } from '../../identity/pages/html.ts'
import type { Page } from '../../identity/pages/page-kit.ts'
import type { ErrorRecord } from '../../platform/telemetry/error-record.ts'
import { badge, instant, select, table } from './elements.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export const errorsSection = ({ base, lastErrors }: ConsoleParts): ConsoleSection => ({
  path: '/errors',
  text: 'console.errors',
  pages(app, kit) {
    kit.define(app, {
      path: '/errors',
      name: 'console.errors',
      for: 'user',
      async show(page) {
        const { text, query } = page
        const all = await lastErrors()
        const shown = all.filter(({ code, route }) => (query.code ?? code) === code && (query.route ?? route) === route)
        return {
          title: text('console.errors'),
          body: html`<p class="lead">${text('errors.what')}</p>
${all.length > 0 && filters(page, `${base}/errors`, all)}
${shown.length === 0 ? html`<p class="none">${text('errors.none')}</p>` : errorsTable(page, shown)}`,
        }
      },
    })
  },
})

function filters({ text, query }: Page, path: string, all: readonly ErrorRecord[]): Html {
  const choices = (of: (record: ErrorRecord) => string, chosen: string | undefined) => [
    { value: '', text: text('console.all') },
    ...[...new Set([...all.map(of), ...(chosen ? [chosen] : [])])].sort().map((value) => ({ value, text: value })),
  ]
  return html`<form class="filters" method="get" action="${path}" role="search">
${select(
  'code',
  text('errors.code'),
  choices(({ code }) => code, query.code),
  query.code,
)}
${select(
  'route',
  text('errors.route'),
  choices(({ route }) => route, query.route),
  query.route,
)}
<div class="actions"><button class="small">${text('console.filter')}</button> <a class="button quiet small" href="${path}">${text('console.filter-clear')}</a></div>
</form>`
}

const errorsTable = ({ text }: Page, records: readonly ErrorRecord[]): Html =>
  table(
    text('console.errors'),
    [text('console.at'), text('errors.code'), text('errors.route'), text('errors.cause'), text('errors.request')],
    records.map(({ timestamp, code, status, route, method, cause, request_id }) => [
      html`<time datetime="${timestamp}">${instant(timestamp)}</time>`,
      html`${badge(String(status), status >= 500 ? 'bad' : 'plain')} <code class="whole">${code}</code>`,
      html`${method} <code>${route}</code>`,
      html`<span class="cause">${cause}</span>`,
      html`<code class="soft">${request_id}</code>`,
    ]),
  )
