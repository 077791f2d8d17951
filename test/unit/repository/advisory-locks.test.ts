import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

it('no two jobs share an advisory lock: one would wait for the other', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const ids = files.flatMap((file) => readFileSync(join('src', file), 'utf8').match(/\b7610\d{3}\b/g) ?? [])
  expect(ids.length).toBeGreaterThan(5)
  expect(ids.filter((id, i) => ids.indexOf(id) !== i)).toEqual([])
})
