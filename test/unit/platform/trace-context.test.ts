/** The cases follow the kinds of the W3C's own test suite (w3c/trace-context, test/test.py), and of the specification, level 2. */
import { describe, expect, it } from 'vitest'
import { newSpanId, readTraceContext, type TraceContext, traceparentOf } from '../../../src/platform/request/trace-context.ts'

const TRACE = '12345678901234567890123456789012'
const SPAN = '1234567890123456'
const TRACEPARENT = `00-${TRACE}-${SPAN}-00`

const read = (traceparent: string | undefined, tracestate?: string, isTrusted = true): TraceContext =>
  readTraceContext({ ...(traceparent !== undefined && { traceparent }), ...(tracestate !== undefined && { tracestate }) }, isTrusted)

describe('a trace begins', () => {
  it.each<[string, string | undefined]>([
    ['without traceparent', undefined],
    ['for an empty one', ''],
    ['for two of them, as Node joins them', `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
    ['for two of a later version, of which the first has more fields', `cc-${TRACE}-${SPAN}-01-x, cc-${TRACE}-${SPAN}-01`],
    ['when version 00 has more', `00-${TRACE}-${SPAN}-01.`],
    ['when version 00 has more fields', `00-${TRACE}-${SPAN}-01-what-the-future-will-be-like`],
    ['when version 00 ends with a dash', `00-${TRACE}-${SPAN}-01-`],
    ['when a later version goes on without a dash', `cc-${TRACE}-${SPAN}-01.what-the-future-will-be-like`],
    ['for version ff', `ff-${TRACE}-${SPAN}-01`],
    ['for illegal characters in the version', `.0-${TRACE}-${SPAN}-01`],
    ['for illegal characters in the version, at its end', `0.-${TRACE}-${SPAN}-01`],
    ['for a version of capitals', `CC-${TRACE}-${SPAN}-01`],
    ['for a version that is too long', `000-${TRACE}-${SPAN}-01`],
    ['for a version that is too long by two', `0000-${TRACE}-${SPAN}-01`],
    ['for a version that is too short', `0-${TRACE}-${SPAN}-01`],
    ['for a trace id of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
    ['for illegal characters in the trace id', `00-.2345678901234567890123456789012-${SPAN}-01`],
    ['for illegal characters at the end of the trace id', `00-1234567890123456789012345678901.-${SPAN}-01`],
    ['for capitals in the trace id', `00-${'ABCDEF'.padEnd(32, '1')}-${SPAN}-01`],
    ['for a trace id that is too long', `00-${TRACE}3-${SPAN}-01`],
    ['for a trace id that is too short', `00-${TRACE.slice(1)}-${SPAN}-01`],
    ['for a parent id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['for illegal characters in the parent id', `00-${TRACE}-.234567890123456-01`],
    ['for illegal characters at the end of the parent id', `00-${TRACE}-123456789012345.-01`],
    ['for a parent id that is too long', `00-${TRACE}-${SPAN}7-01`],
    ['for a parent id that is too short', `00-${TRACE}-${SPAN.slice(1)}-01`],
    ['for illegal characters in the flags', `00-${TRACE}-${SPAN}-.0`],
    ['for illegal characters at the end of the flags', `00-${TRACE}-${SPAN}-0.`],
    ['for flags that are too long', `00-${TRACE}-${SPAN}-001`],
    ['for flags that are too short', `00-${TRACE}-${SPAN}-1`],
    ['for a later version that is too short', `01-${TRACE}-${SPAN}-`],
  ])('%s', (_, traceparent) => {
    const context = read(traceparent, 'foo=1')
    expect(context).toEqual({
      traceId: expect.stringMatching(/^(?!0{32})[0-9a-f]{32}$/),
      spanId: expect.stringMatching(/^(?!0{16})[0-9a-f]{16}$/),
      parentSpanId: null,
      isSampled: false,
      isRandom: true,
      state: '',
    })
    expect(context.traceId).not.toContain(TRACE.slice(1, -1))
  })

  it('each time with other ids', () => {
    const contexts = Array.from({ length: 2000 }, () => read(undefined))
    expect(new Set(contexts.map(({ traceId }) => traceId)).size).toBe(2000)
    expect(new Set([...contexts.map(({ spanId }) => spanId), ...contexts.map(newSpanId)]).size).toBe(4000)
  })
})

describe('a trace goes on', () => {
  it.each([
    ['with version 00', TRACEPARENT],
    ['with a later version', `cc-${TRACE}-${SPAN}-00`],
    ['with a later version and fields that nobody knows yet', `cc-${TRACE}-${SPAN}-00-what-the-future-will-be-like`],
    ['with a later version that ends with a dash', `01-${TRACE}-${SPAN}-00-`],
  ])('%s', (_, traceparent) => {
    const context = read(traceparent)
    expect(context).toMatchObject({ traceId: TRACE, parentSpanId: SPAN })
    expect(context.spanId).not.toBe(SPAN)
    // §3.2.4: the highest version that we know
    expect(traceparentOf(context, context.spanId)).toBe(`00-${TRACE}-${context.spanId}-00`)
  })

  it('under another parent id each time', () => {
    expect(new Set(Array.from({ length: 3 }, () => read(TRACEPARENT).spanId)).size).toBe(3)
  })
})

describe('the flags', () => {
  it.each([
    // flags, from a trusted proxy, from a stranger
    ['00', '00', '00'],
    ['01', '01', '00'],
    ['02', '02', '02'],
    ['03', '03', '02'],
    ['ff', '03', '02'],
    ['09', '01', '00'],
    ['fc', '00', '00'],
  ])('%s go on as %s from a trusted proxy, and as %s from a stranger', (flags, fromProxy, fromStranger) => {
    const sent = (isTrusted: boolean) => traceparentOf(read(`00-${TRACE}-${SPAN}-${flags}`, undefined, isTrusted), SPAN).slice(-2)
    expect([sent(true), sent(false)]).toEqual([fromProxy, fromStranger])
  })

  it('say of a trace that begins here that its id is random, and record nothing', () => {
    expect(traceparentOf(read(undefined), SPAN)).toMatch(/-02$/)
  })
})

const members = (count: number, from = 1) => Array.from({ length: count }, (_, i) => `bar${String(i + from).padStart(2, '0')}=${i + from}`)
const printable = (...left: string[]) =>
  Array.from({ length: 0x5f }, (_, i) => String.fromCharCode(0x20 + i))
    .filter((c) => !left.includes(c))
    .join('')
const KEY = 'abcdefghijklmnopqrstuvwxyz0123456789_-*/'

describe('tracestate', () => {
  it.each<[string, string, string]>([
    ['as it is', 'foo=1,bar=2', 'foo=1,bar=2'],
    ['with all legal characters', `${KEY}=${printable(',', '=')}`, `${KEY}=${printable(',', '=')}`],
    ['with a vendor in the key', `${KEY}@a-z0-9_-*/=1`, `${KEY}@a-z0-9_-*/=1`],
    ['with a key that begins with a digit', '0foo=1', '0foo=1'],
    ['with at signs anywhere but at the start of a key', 'foo@=1,foo@@bar=2,foo@bar@baz=3', 'foo@=1,foo@@bar=2,foo@bar@baz=3'],
    ['without white space around members', 'foo=1 \t , \t bar=2, \t baz=3\t', 'foo=1,bar=2,baz=3'],
    ['with spaces in and before a value', 'foo= a b', 'foo= a b'],
    ['without empty members', ',foo=1, ,\t,bar=2,', 'foo=1,bar=2'],
    ['as nothing when it is empty', '', ''],
    ['with a key that is there twice', 'foo=1,foo=2', 'foo=1,foo=2'],
    ['with 32 members', members(32).join(), members(32).join()],
    ['with 32 members and empty ones', `${members(32).join()},,`, members(32).join()],
    ['with a key of 256 characters', `foo=1,${'z'.repeat(256)}=1`, `foo=1,${'z'.repeat(256)}=1`],
    ['with a value of 256 characters', `foo=${'z'.repeat(256)}`, `foo=${'z'.repeat(256)}`],
  ])('passes %s', (_, given, passed) => {
    expect(read(TRACEPARENT, given)).toMatchObject({ traceId: TRACE, state: passed })
  })

  it.each<[string, string]>([
    ['a key with a space', 'foo =1,bar=2'],
    ['a key of capitals', 'FOO=1'],
    ['a key with a dot', 'foo.bar=1'],
    ['a key that begins with an at sign', '@foo=1,bar=2'],
    ['a key that begins with a dash', '-foo=1'],
    ['no key', '=1,bar=2'],
    ['no value', 'foo=,bar=3'],
    ['no equals sign', 'foo,bar=3'],
    ['two equals signs', 'foo=bar=baz'],
    ['a value with a tab', 'foo=a\tb'],
    ['a value with a control character', 'foo=a\x7fb'],
    ['a value that is not ASCII', 'foo=é'],
    ['33 members', members(33).join()],
    ['a key of 257 characters', `foo=1,${'z'.repeat(257)}=1`],
    ['a value of 257 characters', `foo=1,bar=${'z'.repeat(257)}`],
  ])('is dropped for %s, and the trace goes on', (_, given) => {
    expect(read(TRACEPARENT, given)).toMatchObject({ traceId: TRACE, parentSpanId: SPAN, state: '' })
  })

  it('loses members when it is longer than 512 characters: long ones first, then the last', () => {
    const [long, longer] = [`long=${'x'.repeat(200)}`, `longer=${'x'.repeat(250)}`]
    const short = Array.from({ length: 5 }, (_, i) => `short${i}=${'x'.repeat(92)}`)
    expect(read(TRACEPARENT, [long, 'a=1', longer, 'b=2'].join()).state).toBe([long, 'a=1', longer, 'b=2'].join())
    expect(read(TRACEPARENT, [long, ...short.slice(0, 3), longer].join()).state).toBe([long, ...short.slice(0, 3)].join())
    expect(read(TRACEPARENT, [long, ...short, longer].join()).state).toBe(short.join())
    expect(read(TRACEPARENT, [...short, 'last1=1', 'last2=1'].join()).state).toBe([...short, 'last1=1'].join())
  })
})
