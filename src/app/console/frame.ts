/** The frame of the console: service, navigation, the administrator, content. */
import type { Assets } from '../../identity/pages/assets.ts'
import { type Html, html } from '../../identity/pages/html.ts'
import { headOf, type Layout, languagesOf, type View } from '../../identity/pages/layout.ts'
import type { Language } from '../../platform/texts/texts.ts'
import type { ConsoleSection } from './section.ts'

/** A page for an admitted administrator. Other pages, such as the login, have no navigation. */
export interface FramedView extends View {
  frame?: { section: string; admin: string }
}

export interface FrameDeps {
  base: string
  logoutPath: string
  serviceName: string
  assets: Assets
  iconUrl: string
  languages: readonly Language[]
  sections: readonly Pick<ConsoleSection, 'path' | 'text'>[]
}

export function createFrame({ base, logoutPath, serviceName, assets, iconUrl, languages, sections }: FrameDeps): Layout {
  const navigation = ({ text }: Language, current: string): Html =>
    html`<nav class="sections" aria-label="${text('console.navigation')}"><ul>${sections.map(
      (section) =>
        html`<li><a href="${base}${section.path}"${section.path === current && html` aria-current="page"`}>${text(section.text)}</a></li>`,
    )}</ul></nav>`

  const account = ({ text }: Language, admin: string): Html =>
    html`<form class="who" method="post" action="${logoutPath}"><span>${admin}</span><button class="quiet small">${text('page.log-out')}</button></form>`

  return (view, language) => {
    const { title, body, isWide = false, frame } = view as FramedView
    const { text } = language
    return html`${headOf({ base, assets, iconUrl, title: `${title} · ${text('console.name')} · ${serviceName}` }, language)}
<body class="console">
<a class="skip" href="#content">${text('page.skip')}</a>
<header class="top">
<a class="brand" href="${base}">${assets.logo !== null && html`<img src="${assets.logo}" alt="">`}${serviceName} <span class="tag">${text('console.name')}</span></a>
${frame && account(language, frame.admin)}
</header>
<div class="${frame ? 'shell' : 'plain'}">
${frame && navigation(language, frame.section)}
<main id="content"${(frame !== undefined || isWide) && html` class="wide"`}>
<h1>${title}</h1>
${body}
</main>
</div>
<footer class="foot">${languages.length > 1 && languagesOf(base, languages, language)}${frame && html`<span>${text('console.utc')}</span>`}</footer>
</body>
</html>
`.markup
  }
}
