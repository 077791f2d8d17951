/** The files of the shop's page. The client library is among them, as a bundler would put it there. */
import { readFileSync } from 'node:fs'
import { packageFile } from '../platform/lib/version.ts'

export interface ShopFile {
  headers: Record<string, string>
  content: Buffer
}

const own = (name: string): Buffer => readFileSync(new URL(`shop/${name}`, import.meta.url))
const CLIENT = 'clients/javascript/src/portcullis-client.js'

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

const file = (type: string, content: Buffer, headers: Record<string, string> = {}): ShopFile => ({
  content,
  headers: { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff', ...headers },
})

/** By path. */
export const readShopPage = (): ReadonlyMap<string, ShopFile> =>
  new Map([
    ['/shop/', file('text/html', own('index.html'), { 'content-security-policy': POLICY, 'referrer-policy': 'same-origin' })],
    ['/shop/assets/shop.css', file('text/css', own('shop.css'))],
    ['/shop/assets/shop.js', file('text/javascript', own('shop.js'))],
    ['/shop/assets/portcullis-client.js', file('text/javascript', readFileSync(packageFile(CLIENT)))],
  ])
