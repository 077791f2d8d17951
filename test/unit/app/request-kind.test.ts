import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { kindOf } from '../../../src/app/request-kind.ts'

const CHROMIUM = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8'

function kind(method: string, headers: Record<string, string>, isUpgrade = false) {
  const request = new IncomingMessage(new Socket())
  request.method = method
  Object.assign(request.headers, headers)
  return kindOf(request, isUpgrade)
}
const fetched = (mode: string, dest?: string, site = 'none') => ({
  'sec-fetch-mode': mode,
  'sec-fetch-site': site,
  ...(dest === undefined ? {} : { 'sec-fetch-dest': dest }),
})

describe('with Fetch Metadata', () => {
  it.each([
    ['GET', fetched('navigate', 'document'), 'navigation'],
    ['HEAD', fetched('navigate', 'document', 'cross-site'), 'navigation'],
    ['GET', fetched('navigate', 'empty', 'same-origin'), 'navigation'],
    ['GET', fetched('navigate'), 'navigation'],
    ['POST', fetched('navigate', 'document', 'same-origin'), 'form'],
    ['POST', fetched('navigate', 'document', 'cross-site'), 'form'],
    ['PUT', fetched('navigate', 'empty'), 'form'],
    ['GET', fetched('navigate', 'iframe', 'same-origin'), 'frame'],
    ['GET', fetched('navigate', 'frame'), 'frame'],
    ['GET', fetched('navigate', 'object'), 'frame'],
    ['GET', fetched('navigate', 'embed'), 'frame'],
    ['POST', fetched('navigate', 'iframe'), 'frame'],
    ['GET', fetched('no-cors', 'image'), 'program'],
    ['GET', fetched('no-cors', 'script'), 'program'],
    ['GET', fetched('no-cors', 'object'), 'program'],
    ['GET', fetched('cors', 'empty'), 'program'],
    ['GET', fetched('cors'), 'program'],
    ['GET', fetched('same-origin', 'empty'), 'program'],
    ['GET', fetched('websocket', 'websocket'), 'program'],
    ['GET', fetched('navigate', 'unheard-of'), 'program'],
    ['GET', { 'sec-fetch-site': 'none' }, 'program'],
    ['GET', { 'sec-fetch-dest': 'document' }, 'program'],
  ])('%s %j is a %s, whatever Accept says', (method, headers, expected) => {
    expect(kind(method, headers)).toBe(expected)
    expect(kind(method, { ...headers, accept: CHROMIUM })).toBe(expected)
    expect(kind(method, { ...headers, accept: 'application/json' })).toBe(expected)
  })
})

describe('without Fetch Metadata, Accept decides', () => {
  it.each([
    [CHROMIUM, 'navigation'],
    ['text/html', 'navigation'],
    ['TEXT/HTML', 'navigation'],
    ['text/html, application/json;q=0.9', 'navigation'],
    ['application/json;q=0.5, text/html;q=0.6', 'navigation'],
    ['*/*', 'program'],
    ['application/json', 'program'],
    ['application/json, text/plain, */*', 'program'],
    ['application/json, text/html', 'program'],
    ['application/json, text/html;q=0.9', 'program'],
    ['application/problem+json, text/html;q=0.9', 'program'],
    ['text/html;q=0', 'program'],
    ['text/html;q=0, */*', 'program'],
    ['text/event-stream', 'program'],
    ['image/avif,image/webp,*/*;q=0.8', 'program'],
    ['application/xhtml+xml', 'program'],
    ['', 'program'],
    ['nonsense html', 'program'],
  ])('GET with %s is a %s', (accept, expected) => {
    expect(kind('GET', { accept })).toBe(expected)
    expect(kind('HEAD', { accept })).toBe(expected)
  })

  it('a request without Accept is a program', () => {
    expect(kind('GET', {})).toBe('program')
  })

  it('only a form of HTML is a form', () => {
    const post = (type?: string) => kind('POST', { accept: CHROMIUM, ...(type && { 'content-type': type }) })
    expect(post('application/x-www-form-urlencoded')).toBe('form')
    expect(post('multipart/form-data; boundary=x')).toBe('form')
    expect(post('text/plain;charset=utf-8')).toBe('form')
    expect(post('application/json')).toBe('program')
    expect(post()).toBe('program')
    expect(kind('POST', { accept: '*/*', 'content-type': 'application/x-www-form-urlencoded' })).toBe('program')
  })
})

it('an upgrade and a request with a credential in a header are programs', () => {
  const browser = { ...fetched('navigate', 'document'), accept: CHROMIUM }
  expect(kind('GET', browser, true)).toBe('program')
  expect(kind('GET', { ...browser, authorization: 'Bearer x' })).toBe('program')
  expect(kind('GET', { ...browser, authorization: 'Basic x' })).toBe('program')
  expect(kind('GET', { ...browser, 'x-api-key': 'x' })).toBe('program')
})
