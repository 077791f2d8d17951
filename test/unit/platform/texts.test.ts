import { describe, expect, it } from 'vitest'
import { de } from '../../../src/platform/texts/de.ts'
import { en, type TextKey } from '../../../src/platform/texts/en.ts'
import { createTexts } from '../../../src/platform/texts/texts.ts'

const KEYS = Object.keys(en) as TextKey[]
const placeholders = (text: string) => [...text.matchAll(/\{([a-zA-Z]+)\}/g)].map(([, name]) => name).sort()

/** Texts that are the same in both languages. */
const SAME = new Set<string>([
  'Id',
  '{value}/s',
  'Code',
  '{date} UTC',
  'Name',
  'Scopes',
  'Median',
  'Postgres',
  'Redis',
  '30 min',
  'Route',
  'WebSocket',
  'Https',
  'Upstreams',
  'Limits',
  'Preflight',
])

describe('the texts of both languages', () => {
  it('have the same keys, in the same order', () => {
    expect(Object.keys(de)).toEqual(KEYS)
  })

  it('have the same placeholders', () => {
    expect(KEYS.filter((key) => placeholders(de[key]).join() !== placeholders(en[key]).join())).toEqual([])
  })

  it('are written', () => {
    expect(KEYS.filter((key) => [en[key], de[key]].some((text) => text.trim() === '' || text !== text.trim()))).toEqual([])
  })

  it('differ: no German text is English', () => {
    const english = /\b(?:the|you|your|and|is|are|was|were|of|with|please|this|not|here|has|have|will|be|been|from|cannot|for|it)\b/i
    expect(KEYS.filter((key) => english.test(de[key].replace(/\{\w+\}/g, '')))).toEqual([])
    expect(KEYS.filter((key) => (de[key] as string) === en[key] && !SAME.has(en[key]))).toEqual([])
  })
})

describe('the language of a reader', () => {
  const texts = createTexts(['en', 'de'])
  it.each([
    [undefined, null],
    ['', null],
    ['*', null],
    [' * ', null],
    ['fr', null],
    ['fr, es;q=0.5', null],
    ['de', 'de'],
    ['de-AT', 'de'],
    ['de-AT,de;q=0.9,en;q=0.8', 'de'],
    ['fr,en;q=0.3,de;q=0.2', 'en'],
    ['en;q=0,de', 'de'],
    ['nonsense;;;q=', null],
  ])('who sends %j is %s', (header, code) => {
    expect(texts.asked(header)?.code ?? null).toBe(code)
    expect((texts.asked(header) ?? texts.of(null)).code).toBe(code ?? 'en')
  })

  it('an unknown code is the first language', () => {
    expect(texts.of('fr').code).toBe('en')
    expect(texts.of(null).code).toBe('en')
    expect(createTexts(['de', 'en']).of(undefined).code).toBe('de')
  })

  it('values replace placeholders once, whatever they hold', () => {
    expect(texts.of('en').text('page.request-id', { id: '{id} $& {x}' })).toBe('Request id: {id} $& {x}')
  })
})
