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
