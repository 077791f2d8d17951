/** The routes in the order in which they are matched: access, limits, and upstreams with their health. */
import { type Html, html } from '../../identity/pages/html.ts'
import type { Page } from '../../identity/pages/page-kit.ts'
import { describeRoutes, type RouteRow } from '../../proxy/describe-routes.ts'
import { badge, link, table } from './elements.ts'
import type { UpstreamHealth } from './health-reading.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

export const routesSection = ({ base, config, health }: ConsoleParts): ConsoleSection => {
  // the sort is stable: routes of any host come last, because they are matched last
  const rows = describeRoutes(config).sort((a, b) => Number(a.host === '*') - Number(b.host === '*'))
  return {
    path: '/routes',
    text: 'console.routes',
    pages(app, kit) {
      kit.define(app, {
        path: '/routes',
        name: 'console.routes',
        for: 'user',
        async show(page) {
          const { text } = page
          const { upstreams } = await health()
          return {
            title: text('console.routes'),
            body: html`<p class="lead">${text('routes.what')} <a href="${base}/why">${text('routes.why')}</a></p>
${
  rows.length === 0
    ? html`<p class="none">${text('routes.none')}</p>`
    : table(
        text('console.routes'),
        [text('routes.name'), text('routes.match'), text('routes.access'), text('routes.limits'), text('routes.upstreams')],
        rows.map((row, i) => [
          html`<span class="soft">${i + 1}.</span> <a href="${link(`${base}/why`, questionAbout(row))}">${row.name}</a>`,
          matchOf(row),
          accessOf(page, row),
          row.limits === '-'
            ? html`<span class="none">${text('console.none')}</span>`
            : html`${row.limits.replaceAll(',', ', ')}<br><span class="soft">${row.counts}</span>`,
          row.upstream === '-'
            ? html`<span class="soft">${text('routes.other-proxy')}</span>`
            : row.upstream.split(',').map((origin, n) => upstreamOf(page, origin, upstreams[`${row.name}:${n}`])),
        ]),
      )
}`,
          }
        },
      })
    },
  }

  /** A question that leads to this route. */
  function questionAbout({ host, path, methods }: RouteRow) {
    const { protocol } = new URL(config.server.publicUrl)
    return { method: methods === '*' ? 'GET' : methods.split(',')[0], url: host === '*' ? path : `${protocol}//${host}${path}` }
  }
}

const matchOf = ({ host, path, methods, websocket }: RouteRow): Html =>
  html`<code>${host === '*' ? '' : host}${path}</code><br><span class="soft">${methods === '*' ? '' : methods.replaceAll(',', ', ')}${websocket && ' WebSocket'}</span>`

const accessOf = ({ text }: Page, { access, clients }: RouteRow): Html =>
  html`${access === 'public' ? badge(text('routes.public')) : access}${clients !== '*' && html`<br><span class="soft">${clients}</span>`}`

/** Without a sample nothing is known of an upstream yet. */
function upstreamOf({ text }: Page, origin: string, health: UpstreamHealth | undefined): Html {
  const breaker =
    health && health.breaker !== 'closed'
      ? badge(text(health.breaker === 'open' ? 'routes.breaker-open' : 'routes.breaker-half-open'), 'bad')
      : null
  const checks =
    health && health.isHealthy !== null
      ? badge(text(health.isHealthy ? 'routes.healthy' : 'routes.unhealthy'), health.isHealthy ? 'good' : 'bad')
      : null
  const fine = health && !breaker && !checks ? badge(text('routes.breaker-closed'), 'good') : null
  return html`<div class="upstream"><code>${origin}</code> ${checks} ${breaker} ${fine}</div>`
}
