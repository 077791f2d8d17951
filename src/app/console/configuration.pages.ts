/** The configuration in force, setting by setting. Secrets are hidden before anything is shown. */
import { type Html, html } from '../../identity/pages/html.ts'
import type { Page } from '../../identity/pages/page-kit.ts'
import { ConfigSchema } from '../../platform/config/schema.ts'
import { withoutSecrets } from '../../platform/config/shown.ts'
import type { ConsoleParts, ConsoleSection } from './section.ts'

/** One setting, such as `server.port`. */
export interface Setting {
  path: string
  /** As JSON. */
  value: string
  isDefault: boolean
}

interface Schema {
  default?: unknown
  properties?: Record<string, Schema>
  items?: Schema
}

export const configurationSection = ({ base, config }: ConsoleParts): ConsoleSection => ({
  path: '/configuration',
  text: 'console.configuration',
  pages(app, kit) {
    const settings = settingsOf(withoutSecrets(config), ConfigSchema as Schema)
    kit.define(app, {
      path: '/configuration',
      name: 'console.configuration',
      for: 'user',
      show(page) {
        const { text, query } = page
        const isWhole = query.show === 'all'
        const path = `${base}/configuration`
        return {
          title: text('console.configuration'),
          body: html`<p class="lead">${text('configuration.what')}</p>
<nav class="tabs" aria-label="${text('configuration.shown')}">${tab(path, text('configuration.changed'), !isWhole)} ${tab(`${path}?show=all`, text('configuration.all'), isWhole)}</nav>
${sectionsOf(isWhole ? settings : settings.filter(({ isDefault }) => !isDefault)).map(([name, rows]) => sectionOf(page, name, rows))}`,
        }
      },
    })
  },
})

const tab = (path: string, text: string, isCurrent: boolean): Html =>
  html`<a href="${path}"${isCurrent && html` aria-current="page"`}>${text}</a>`

/**
 * In the order of the schema. A list is one setting, except for the routes: their settings are shown apart.
 * @param schema undefined inside a value that has no schema of its own
 */
export function settingsOf(value: unknown, schema: Schema | undefined, path = '', byDefault = schema?.default): Setting[] {
  const json = JSON.stringify(value)
  if (json === undefined) return []
  if (path === 'routes' && Array.isArray(value))
    return value.flatMap((route, i) => settingsOf(JSON.parse(JSON.stringify(route)), schema?.items, `routes[${i}]`))
  if (schema?.properties && typeof value === 'object' && value !== null && !Array.isArray(value))
    return Object.entries(value).flatMap(([name, held]) => {
      const inner = schema.properties?.[name]
      const outer = (byDefault as Record<string, unknown> | undefined)?.[name]
      return settingsOf(held, inner, path === '' ? name : `${path}.${name}`, inner?.default ?? outer)
    })
  return [{ path, value: json, isDefault: json === JSON.stringify(byDefault) }]
}

function sectionsOf(settings: readonly Setting[]): [name: string, rows: Setting[]][] {
  const sections = new Map<string, Setting[]>()
  for (const setting of settings) {
    const name = /^\w+(?:\[\d+\])?/.exec(setting.path)?.[0] ?? ''
    sections.set(name, [...(sections.get(name) ?? []), setting])
  }
  return [...sections]
}

const sectionOf = ({ text }: Page, name: string, rows: readonly Setting[]): Html =>
  html`<section><h2 id="${idOf(name)}">${name}</h2>
<table class="settings" aria-labelledby="${idOf(name)}"><thead class="hidden"><tr><th scope="col">${text('configuration.setting')}</th><th scope="col">${text('configuration.value')}</th></tr></thead>
<tbody>${rows.map(
    ({ path, value, isDefault }) =>
      html`<tr><th scope="row"><code>${path}</code></th><td>${shown(value)}${isDefault && html` <span class="soft">${text('configuration.default')}</span>`}</td></tr>`,
  )}</tbody></table></section>`

const idOf = (name: string): string => `of-${name.replace(/\W+/g, '-')}`

const LINE = 60

const shown = (value: string): Html =>
  value.length > LINE && /^[[{]/.test(value)
    ? html`<pre class="code">${JSON.stringify(JSON.parse(value), null, 2)}</pre>`
    : html`<code>${value}</code>`
