import { describe, expect, it } from 'vitest'
import { isMetadataPatch, mergePatch, metadataFaults, namesOf } from '../../../src/identity/users/metadata.ts'

describe('a merge patch', () => {
  // RFC 7396, appendix A
  it.each<[unknown, unknown, unknown]>([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j and %j make %j', (target, patch, merged) => {
    expect(mergePatch(target, patch)).toEqual(merged)
  })

  it('a member __proto__ is a member, and changes nothing else', () => {
    const merged = mergePatch({}, JSON.parse('{"public": {"__proto__": {"roles": "admin"}}}')) as { public: object }
    expect(Object.hasOwn(merged.public, '__proto__')).toBe(true)
    expect((merged.public as { roles?: string }).roles).toBeUndefined()
    expect(({} as { roles?: string }).roles).toBeUndefined()
  })

  it.each(['{}', 'null', '[]', '"text"', '{"other":{}}', '{"public":[]}', '{"public":{},"admin":1}'])('%s changes no metadata', (text) => {
    expect(isMetadataPatch(JSON.parse(text))).toBe(false)
  })
})

describe('metadata', () => {
  it('has at most 4 KiB together, counted in bytes', () => {
    const rest = JSON.stringify({ public: { a: '' }, admin: { b: 'x' } }).length
    const of = (text: string) => ({ public: { a: text }, admin: { b: 'x' } })
    expect(metadataFaults(of('x'.repeat(4096 - rest)))).toEqual([])
    expect(metadataFaults(of('x'.repeat(4097 - rest)))).toMatchObject([{ field: 'metadata', code: 'too_long' }])
    expect(metadataFaults(of('é'.repeat(4096 - rest)))).toMatchObject([{ field: 'metadata', code: 'too_long' }])
  })

  it('holds Unicode text without NUL; a text that looks like an escape is a text', () => {
    for (const bad of ['a\0', '\ud83d', '\udc00x', '\\\0'])
      expect(metadataFaults({ public: { a: bad } })).toMatchObject([{ field: 'metadata', code: 'format' }])
    expect(metadataFaults({ admin: { 'a\0': 1 } })).toMatchObject([{ code: 'format' }])
    for (const good of ['\\u0000', '\\\\ud83d', '😀', '']) expect(metadataFaults({ public: { a: good } })).toEqual([])
  })

  it('the audit log names the members of a patch, never a value', () => {
    expect(namesOf({ public: { plan: 'gold', 'a b\n': 1 }, admin: null })).toBe('public.plan public.a%20b%0A admin')
    expect(namesOf({ admin: { ['x'.repeat(900)]: 1 } })).toHaveLength(500)
  })
})
