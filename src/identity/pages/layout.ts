/** The frame of every page: head, brand, content, language and help. */
import type { Config } from '../../platform/config/schema.ts'
import type { Language } from '../../platform/texts/texts.ts'
import type { Assets } from './assets.ts'
import { type Html, html } from './html.ts'

/** The content of a page. */
export interface View {
  title: string
  body: Html
  /** Default: 200. */
  status?: number
  /** For tables and lists. */
  isWide?: boolean
  /** The page for a logged-in user has links to the account and to the logout. */
  isLoggedIn?: boolean
  /** A page of several that belong together: the links to all of them. They stand beside the content, or above it. */
  navigation?: Navigation
  /** The page may stand in a frame: its links lead to the whole window. */
  isFramed?: boolean
}

export interface Navigation {
  label: string
  links: readonly { to: string; text: string; isCurrent: boolean }[]
}

export interface LayoutDeps {
  /** The path of the pages, such as `/auth/ui`. */
  base: string
  serviceName: string
  supportUrl: Config['auth']['browser']['brand']['supportUrl']
  homeUrl: Config['auth']['browser']['brand']['homeUrl']
  assets: Assets
  languages: readonly Language[]
}

export type Layout = (view: View, language: Language) => string

/** An icon of its own keeps browsers from asking for /favicon.ico. */
export const iconOf = (accent: string) =>
  `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="${accent}"/><path d="M4 4v8M8 4v8M12 4v8M3 6h10M3 10h10" stroke="#fff" stroke-width="1.4"/></svg>`)}`

export function createLayout({ base, serviceName, supportUrl, homeUrl, assets, languages }: LayoutDeps, accent: string): Layout {
  const iconUrl = iconOf(accent)
  return ({ title, body, isWide = false, isLoggedIn = false, navigation, isFramed = false }, language) => {
    const { text } = language
    const brand = html`<img src="${assets.logo ?? iconUrl}" alt="">${serviceName}`
    return html`${headOf({ base, assets, iconUrl, title: `${title} · ${serviceName}`, isFramed }, language)}
<body${!isWide && !navigation && html` class="single"`}>
<a class="skip" href="#content">${text('page.skip')}</a>
<header class="top">
${homeUrl === undefined ? html`<span class="brand">${brand}</span>` : html`<a class="brand" href="${homeUrl}">${brand}</a>`}
${isLoggedIn && !navigation && html`<a href="${base}/account">${text('page.account')}</a>`}
${isLoggedIn && html`<form method="post" action="${base}/logout"><button class="quiet small">${text('page.log-out')}</button></form>`}
</header>
${
  navigation &&
  html`<div class="columns">
${navigationOf(navigation)}`
}
<main id="content"${(isWide || navigation) && html` class="wide"`}>
<h1>${title}</h1>
${body}
</main>
${navigation && html`</div>`}
<footer class="foot">
${languages.length > 1 && languagesOf(base, languages, language)}
${supportUrl !== undefined && html`<a href="${supportUrl}">${text('page.support')}</a>`}
</footer>
</body>
</html>
`.markup
  }
}

export interface Head {
  /** The path of the pages, such as `/auth/ui`. */
  base: string
  assets: Assets
  iconUrl: string
  title: string
  isFramed?: boolean
}

/** The document up to its body. */
export const headOf = ({ base, assets, iconUrl, title, isFramed = false }: Head, { code }: Language): Html => html`<!doctype html>
<html lang="${code}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
${isFramed && html`<base target="_top">`}
<title>${title}</title>
<link rel="icon" href="${iconUrl}">
<link rel="stylesheet" href="${base}/${assets.style.path}">
<script type="module" src="${base}/${assets.script.path}"></script>
</head>`

const navigationOf = ({ label, links }: Navigation): Html =>
  html`<nav class="side" aria-label="${label}"><ul>${links.map(
    ({ to, text, isCurrent }) => html`<li><a href="${to}"${isCurrent && html` aria-current="page"`}>${text}</a></li>`,
  )}</ul></nav>`

/** The choice of a language. */
export const languagesOf = (base: string, languages: readonly Language[], current: Language): Html =>
  html`<nav aria-label="${current.text('page.language')}">${languages.map(({ code }) =>
    code === current.code
      ? html`<span aria-current="true" lang="${code}">${nameOf(code)}</span> `
      : html`<a href="${base}/language/${code}" lang="${code}" hreflang="${code}">${nameOf(code)}</a> `,
  )}</nav>`

/** The name of a language in itself, such as `Deutsch`. */
const nameOf = (code: string): string => new Intl.DisplayNames([code], { type: 'language' }).of(code) ?? code
