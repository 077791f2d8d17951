/** docs/architecture.md agrees with the code. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { currentPage } from '../../support/print-architecture.ts'

const ROOT = new URL('../../../', import.meta.url)
const page = readFileSync(new URL('docs/architecture.md', ROOT), 'utf8')

it('its diagrams show the current imports and stages', async () => {
  expect(page).toBe(await currentPage(page))
  expect(page).toContain('src_proxy --> src_proxy_forward')
  expect(page).toContain('| 13 | `authenticate` | 401, 403, 429, 503 |')
})

it('every file and folder that it names exists', async () => {
  const named = [...new Set([...page.matchAll(/`((?:src|test|migrations)\/[^`\s]*)`/g)].map(([, path]) => path!))]
  expect(named.length).toBeGreaterThan(30)
  const missing: string[] = []
  for (const path of named) {
    let exists = false
    for await (const _ of glob(path.replace(/\/$/, ''), { cwd: ROOT })) exists = true
    if (!exists) missing.push(path)
  }
  expect(missing).toEqual([])
})
