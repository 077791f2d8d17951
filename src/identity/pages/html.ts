/** HTML from templates. Each value is escaped, unless it is HTML itself. */
import { escapeHtml } from '../../platform/lib/escape-html.ts'

/** Markup that is safe to put into a page. */
export interface Html {
  readonly markup: string
}

/** Null, undefined and false leave nothing. */
export type Part = Html | string | number | null | undefined | false | readonly Part[]

/** A template of a page: `` html`<p>${text}</p>` ``. Attributes stand in double quotes. */
export const html = (strings: TemplateStringsArray, ...parts: Part[]): Html => ({
  markup: strings.reduce((markup, text, i) => markup + markupOf(parts[i - 1]) + text),
})

/** For markup that another program made, such as the SVG of a QR code. Never for text of a user. */
export const trustedMarkup = (markup: string): Html => ({ markup })

function markupOf(part: Part): string {
  if (part === null || part === undefined || part === false) return ''
  if (typeof part === 'string') return escapeHtml(part)
  if (typeof part === 'number') return String(part)
  return isHtml(part) ? part.markup : part.map(markupOf).join('')
}

const isHtml = (part: Html | readonly Part[]): part is Html => 'markup' in part
