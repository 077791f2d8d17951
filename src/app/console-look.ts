/** The style and the frame of the console's pages. */
import { readFileSync } from 'node:fs'
import { type Assets, readAssets } from '../identity/pages/assets.ts'
import { iconOf, type Layout } from '../identity/pages/layout.ts'
import type { Config } from '../platform/config/schema.ts'
import type { Texts } from '../platform/texts/texts.ts'
import { createFrame } from './console/frame.ts'
import type { ConsoleSection } from './console/section.ts'
import { serviceNameOf } from './page-frame.ts'

export interface ConsoleLookDeps {
  config: Config
  texts: Texts
  /** The path of the console. */
  base: string
  logoutPath: string
  sections: readonly ConsoleSection[]
}

const STYLES = ['console.css', 'charts.css']

export function createConsoleLook({ config, texts, base, logoutPath, sections }: ConsoleLookDeps): { assets: Assets; layout: Layout } {
  const { browser } = config.auth
  const style = STYLES.map((name) => readFileSync(new URL(`console/assets/${name}`, import.meta.url), 'utf8')).join('')
  const assets = readAssets(browser, style)
  const layout = createFrame({
    base,
    logoutPath,
    serviceName: serviceNameOf(config),
    assets,
    iconUrl: iconOf(browser.brand.accent),
    languages: texts.languages,
    sections,
  })
  return { assets, layout }
}
