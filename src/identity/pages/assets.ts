/** The style and the script of the pages. Their addresses hold a hash of the content, so that browsers keep them for ever. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, join } from 'node:path'
import type { Config } from '../../platform/config/schema.ts'
import { lightened, textColourOn } from '../../platform/lib/colours.ts'

export interface Asset {
  /** Below `{prefix}/ui/`. */
  path: string
  type: string
  content: Buffer
}

export interface Assets {
  style: Asset
  script: Asset
  /** Of the pages with passkeys. */
  passkeyScript: Asset
  /** A data URL, so that no page needs a further request. Null without a logo. */
  logo: string | null
}

const require = createRequire(import.meta.url)

const read = (name: string): string => readFileSync(new URL(`assets/${name}`, import.meta.url), 'utf8')

/** The library as one script. */
const readBundle = (): string =>
  readFileSync(join(dirname(require.resolve('@simplewebauthn/browser')), '..', 'dist', 'bundle', 'index.umd.min.js'), 'utf8')

const asset = (name: string, type: string, text: string): Asset => {
  const content = Buffer.from(text)
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 12)
  return { path: `assets/${name.replace('.', `.${hash}.`)}`, type, content }
}

const LOGO_TYPES: Record<string, string> = { '.svg': 'image/svg+xml', '.png': 'image/png' }

/** @param moreStyle CSS of pages that look otherwise. @throws for a logo or a style sheet that cannot be read; `check` has reported it before */
export function readAssets({ brand }: Config['auth']['browser'], moreStyle = ''): Assets {
  const { accent } = brand
  const colours = `:root { --accent: ${accent}; --on-accent: ${textColourOn(accent)}; --accent-on-dark: ${lightened(accent)} }\n`
  const own = brand.css === undefined ? '' : readFileSync(brand.css, 'utf8')
  const { logo } = brand
  return {
    style: asset('pages.css', 'text/css; charset=utf-8', read('pages.css') + moreStyle + colours + own),
    script: asset('pages.js', 'text/javascript; charset=utf-8', read('pages.js')),
    passkeyScript: asset('passkeys.js', 'text/javascript; charset=utf-8', readBundle() + read('passkeys.js')),
    logo: logo === undefined ? null : `data:${LOGO_TYPES[extname(logo).toLowerCase()]};base64,${readFileSync(logo).toString('base64')}`,
  }
}
