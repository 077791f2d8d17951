/** Makes the text and the HTML part of a mail from the same content. The HTML loads nothing: no images, no scripts. */

import { textColourOn } from '../lib/colours.ts'
import { escapeHtml } from '../lib/escape-html.ts'
import { visibleText } from '../lib/visible-text.ts'
import type { Language } from '../texts/texts.ts'
import type { Block, Content } from './templates.ts'

/** How all mails look. */
export interface MailLook {
  service: string
  language: Language
  /** `#rrggbb`, of the buttons. */
  accent: string
  /** Where users find help: a page, or `mailto:`. */
  supportUrl: string | undefined
}

function textOf(block: Block): string {
  // users choose some values, such as the name of a key: a value cannot add lines to the mail
  if (typeof block === 'string') return visibleText(block)
  if ('url' in block) return block.url
  return block.facts.map(([name, value]) => `  ${name}: ${visibleText(value)}`).join('\n')
}

// only the button sets colours, text and background together; the mail program chooses all others, light or dark
const FONT = 'font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
const buttonOf = (accent: string) =>
  `display: inline-block; padding: 12px 24px; border-radius: 8px; background: ${accent}; color: ${textColourOn(accent)}; font-weight: 600; text-decoration: none`
const style = (css: string): string => `style="${escapeHtml(css)}"`

function htmlOf(block: Block, { language, accent }: MailLook): string {
  if (typeof block === 'string') return `<p ${style('margin: 0 0 16px')}>${escapeHtml(visibleText(block))}</p>`
  if ('url' in block) {
    const url = escapeHtml(block.url)
    return [
      `<p ${style('margin: 24px 0')}><a href="${url}" ${style(buttonOf(accent))}>${escapeHtml(block.label)}</a></p>`,
      `<p ${style('margin: 0 0 16px; font-size: 14px; word-break: break-all')}>${escapeHtml(language.text('mail.open-address'))} <a href="${url}">${url}</a></p>`,
    ].join('\n')
  }
  const rows = block.facts.map(
    ([name, value]) =>
      `<tr><th scope="row" ${style('padding: 2px 16px 2px 0; text-align: left; font-weight: 600; vertical-align: top')}>${escapeHtml(name)}</th><td ${style('padding: 2px 0; word-break: break-word')}>${escapeHtml(visibleText(value))}</td></tr>`,
  )
  return `<table ${style('margin: 0 0 16px; border-collapse: collapse')}>\n${rows.join('\n')}\n</table>`
}

export function layOut({ subject, blocks }: Content, look: MailLook): { text: string; html: string } {
  const { service, language, supportUrl } = look
  const footer = language.text('mail.footer', { service })
  const shown = supportUrl?.replace(/^mailto:/, '')
  const support = shown === undefined ? null : language.text('mail.support', { url: shown })
  const small = 'margin: 32px 0 0; padding-top: 16px; border-top: 1px solid #8888; font-size: 13px; opacity: 0.75'
  return {
    text: `${[subject, ...blocks.map(textOf), `-- \n${[footer, support].filter(Boolean).join('\n')}`].join('\n\n')}\n`,
    html: `<!doctype html>
<html lang="${language.code}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>${escapeHtml(subject)}</title>
</head>
<body ${style('margin: 0; padding: 24px')}>
<div ${style(`max-width: 560px; margin: 0 auto; ${FONT}`)}>
<h1 ${style('margin: 0 0 16px; font-size: 22px; line-height: 1.25')}>${escapeHtml(subject)}</h1>
${blocks.map((block) => htmlOf(block, look)).join('\n')}
<p ${style(small)}>${escapeHtml(footer)}${supportUrl === undefined ? '' : supportLink(supportUrl, shown!, language)}</p>
</div>
</body>
</html>
`,
  }
}

/** The text of the language, with the address as a link. */
function supportLink(url: string, shown: string, { text }: Language): string {
  const [before = '', after = ''] = text('mail.support').split('{url}')
  return `<br>\n${escapeHtml(before)}<a href="${escapeHtml(url)}">${escapeHtml(shown)}</a>${escapeHtml(after)}`
}
