/** What the pages and the answers to navigations share: look, languages, origin and the way back. */
import type { CrossSite } from '../identity/access/cross-site.ts'
import { type Assets, readAssets } from '../identity/pages/assets.ts'
import { createLayout, type Layout } from '../identity/pages/layout.ts'
import { createReturnTo, type ReturnTo } from '../identity/pages/return-to.ts'
import { readSolver, type Solver } from '../identity/pages/solver.ts'
import type { Config } from '../platform/config/schema.ts'
import type { Texts } from '../platform/texts/texts.ts'

export interface PageFrame {
  /** The path of the pages, such as `/auth/ui`. */
  base: string
  texts: Texts
  assets: Assets
  /** Null where no form needs a proof of work. */
  solver: Solver | null
  layout: Layout
  crossSite: CrossSite
  returnTo: ReturnTo
}

export function createPageFrame(config: Config, texts: Texts, crossSite: CrossSite): PageFrame {
  const { prefix, browser, proofOfWork } = config.auth
  const base = `${prefix}/ui`
  const assets = readAssets(browser)
  const { supportUrl, homeUrl, accent } = browser.brand
  return {
    base,
    texts,
    assets,
    solver: proofOfWork.enabled ? readSolver() : null,
    layout: createLayout({ base, serviceName: serviceNameOf(config), supportUrl, homeUrl, assets, languages: texts.languages }, accent),
    crossSite,
    returnTo: createReturnTo(crossSite, prefix),
  }
}

export const serviceNameOf = ({ auth: { browser, mfa }, server }: Config): string =>
  browser.brand.name ?? mfa.issuer ?? new URL(server.publicUrl).hostname
