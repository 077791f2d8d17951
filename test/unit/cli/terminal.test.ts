import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { table } from '../../../src/commands/terminal.ts'

it('a cell of a table stays on its line, and in its column', () => {
  expect(
    table([
      { name: 'a\nb\x1b[2J', roles: 'x' },
      { name: '\u202ec', roles: 'y\u009b' },
    ]),
  ).toBe(['name              roles', 'a\\u{a}b\\u{1b}[2J  x', '\\u{202e}c         y\\u{9b}'].join('\n'))
})

it('no command prints JSON as text: `\\u{…}` is not JSON', () => {
  const folder = fileURLToPath(new URL('../../../src/commands/', import.meta.url))
  const files = globSync('*.ts', { cwd: folder })
  expect(files.length).toBeGreaterThan(10)
  for (const file of files)
    expect([file, readFileSync(join(folder, file), 'utf8').match(/print\([^)]*JSON\.stringify/)]).toEqual([file, null])
})
