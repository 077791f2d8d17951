/** The documentation lists every reserved header with its source. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { foldName, isReservedHeader, RESERVED_FAMILIES } from '../../../src/proxy/routing/reserved-headers.ts'

it('each family stands in the table of docs/security.md', () => {
  const page = readFileSync(new URL('../../../docs/security.md', import.meta.url), 'utf8')
  const rows = RESERVED_FAMILIES.map(({ source, names }) => `| ${source} | ${names.map((name) => `\`${name}\``).join(', ')} |`)
  expect(page).toContain(rows.join('\n'))
})

it('each name is written in a form that can match', () => {
  for (const name of RESERVED_FAMILIES.flatMap(({ names }) => names)) {
    const text = name.replace(/\*$/, '').toLowerCase()
    expect(foldName(`${text}x`)).toBe(`${text}x`)
    expect(isReservedHeader(name.endsWith('*') ? `${text}x` : text)).toBe(true)
  }
})

it('no name of a family needs another family: each name stands once', () => {
  const names = RESERVED_FAMILIES.flatMap((family) => family.names)
  expect(new Set(names).size).toBe(names.length)
})
