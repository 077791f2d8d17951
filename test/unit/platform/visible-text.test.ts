import { describe, expect, it } from 'vitest'
import { visibleJson, visibleLines, visibleText, visibleValue } from '../../../src/platform/lib/visible-text.ts'

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const KINDS: [string, number[]][] = [
  ['C0', range(0x00, 0x1f)],
  ['DEL and C1', range(0x7f, 0x9f)],
  ['bidirectional embeddings and overrides', range(0x202a, 0x202e)],
  ['bidirectional isolates', range(0x2066, 0x2069)],
  ['bidirectional marks', [0x200e, 0x200f, 0x061c]],
  ['zero-width characters', [0x200b, 0x200c, 0x200d, 0x2060, 0xfeff, 0x180e]],
  ['invisible operators and deprecated format characters', [...range(0x2061, 0x2064), ...range(0x206a, 0x206f)]],
  ['line and paragraph separators', [0x2028, 0x2029]],
  ['tags', range(0xe0000, 0xe007f)],
  ['variation selectors that hide text', [...range(0xfe00, 0xfe0d), ...range(0xe0100, 0xe01ef)]],
  ['other characters without a picture', [0x00ad, 0x034f, 0x115f, 0x1160, 0x17b4, 0x3164, 0xffa0, 0xfff9, 0xfffb]],
  ['lone surrogates', [0xd800, 0xdbff, 0xdc00, 0xdfff]],
]
const cases = KINDS.flatMap(([kind, codes]) => codes.map((code) => [kind, code] as const))

it.each(KINDS)('%s are written as numbers', (_kind, codes) => {
  for (const code of codes) expect(visibleText(`a${String.fromCodePoint(code)}b`)).toBe(`a\\u{${code.toString(16)}}b`)
})

it.each([
  ['', ''],
  ['plain text, ~!@#', 'plain text, ~!@#'],
  ['Zoë Ωmega 日本語 עברית العربية', 'Zoë Ωmega 日本語 עברית العربية'],
  ['e\u0301 and an emoji 🎉 with its style ❤\ufe0f', 'e\u0301 and an emoji 🎉 with its style ❤\ufe0f'],
  ['a backslash \\u{1b} of the text itself', 'a backslash \\u{1b} of the text itself'],
  ['no\u00a0break', 'no\u00a0break'],
])('%j stays readable', (text, shown) => {
  expect(visibleText(text)).toBe(shown)
})

describe('text of our own', () => {
  it('keeps its lines, and nothing else', () => {
    expect(visibleLines('one\ntwo\r\n\x1b[2Jthree\u2028')).toBe('one\ntwo\\u{d}\n\\u{1b}[2Jthree\\u{2028}')
  })
})

describe('JSON', () => {
  it('shows no such character, and reads as the same value', () => {
    for (const [, code] of cases) {
      const value = { [`k${String.fromCodePoint(code)}`]: [`a${String.fromCodePoint(code)}b`] }
      const text = visibleJson(value)
      expect(visibleText(text)).toBe(text)
      expect(JSON.parse(text)).toEqual(value)
    }
  })
})

describe('a value', () => {
  it('has visible strings and names at any depth', () => {
    expect(visibleValue({ 'a\x1b': ['\u202e', { b: '\u200b' }], n: 1, z: null, t: true })).toEqual({
      'a\\u{1b}': ['\\u{202e}', { b: '\\u{200b}' }],
      n: 1,
      z: null,
      t: true,
    })
  })

  it('keeps the lines of a stack', () => {
    expect(visibleValue({ err: { message: 'a\nb', stack: 'Error: a\n    at \u202eb' } })).toEqual({
      err: { message: 'a\\u{a}b', stack: 'Error: a\n    at \\u{202e}b' },
    })
  })
})
