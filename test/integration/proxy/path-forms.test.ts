/** Paths that applications need and that some server could read in another way: a route opts in to them by name, and gets their bytes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { raw, statusOf } from '../../support/client.ts'
import { type Gateway, startGateway } from '../../support/gateway.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

/** One each: a public route that shares an upstream with a stricter one would have to guard all of its paths. */
const apps: Record<string, Upstream> = {}
let gateway: Gateway
beforeAll(async () => {
  for (const app of ['strict', 'gitlab', 'npm', 's3', 'bucket', 'cars', 'files', 'all', 'packages']) apps[app] = await startUpstream()
  const to = (app: string, part: object = {}, path = `/${app}`) => ({
    name: `${app}${path.replace(/[^a-z0-9]/g, '-')}`,
    match: { path },
    upstream: [apps[app]!.url],
    access: 'public',
    ...part,
  })
  const admins = { access: { roles: ['admin'] } }
  const host = 'packages.test'
  gateway = await startGateway({
    routes: [
      to('strict'),
      to('gitlab', { allow: ['encodedSlash'], rewrite: { prefix: '/' } }),
      to('gitlab', { ...admins, rewrite: { prefix: '/api/v4/admin' } }, '/gitlab/api/v4/admin'),
      to('npm', { allow: ['encodedSlash'] }),
      to('s3', { allow: ['doubleSlash'] }),
      to('bucket', { allow: ['doubleSlash'], rewrite: { prefix: '/' } }),
      to('cars', { allow: ['semicolon'] }),
      to('files', { allow: ['percent'] }),
      to('all', { allow: ['encodedSlash', 'doubleSlash', 'semicolon', 'percent'] }),
      to('all', admins, '/all/admin'),
      to('packages', { match: { path: '/', host }, allow: ['encodedSlash'] }),
      to('packages', { match: { path: '/-/admin', host }, ...admins }, '/-/admin'),
    ],
  })
})
afterAll(async () => {
  await gateway.close()
  await Promise.all(Object.values(apps).map((app) => app.close()))
})

/** The status, and what the upstream was asked for or why nothing reached it. */
async function get(target: string, host = 'gateway.test'): Promise<[status: number, seen: string]> {
  const text = await raw(gateway.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
  const seen = Object.values(apps).flatMap((app) => app.take().map((r) => r.url))
  const problem = statusOf(text) === 200 ? null : JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4))
  if (problem) expect(seen).toEqual([])
  return [statusOf(text), problem ? `${problem.code}: ${problem.detail}` : seen.join()]
}

describe('a form that a route allows goes out byte for byte', () => {
  it.each([
    ['a GitLab project', '/gitlab/api/v4/projects/group%2Fproject', '/api/v4/projects/group%2Fproject'],
    [
      'a file in it',
      '/gitlab/api/v4/projects/a%2fb/repository/files/lib%2Fclass%2Erb/raw?ref=main',
      '/api/v4/projects/a%2fb/repository/files/lib%2Fclass%2Erb/raw?ref=main',
    ],
    ['a dot file in it', '/gitlab/api/v4/projects/1/repository/files/%2Egitignore', '/api/v4/projects/1/repository/files/%2Egitignore'],
    ['a scoped npm package', '/npm/@scope%2fpkg', '/npm/@scope%2fpkg'],
    ['its tarball', '/npm/@scope%2Fpkg/-/pkg-1.0.0.tgz', '/npm/@scope%2Fpkg/-/pkg-1.0.0.tgz'],
    ['an S3 key with an empty part', '/s3/bucket//logs///2026.txt', '/s3/bucket//logs///2026.txt'],
    ['one that ends in a slash', '/s3/bucket/folder//', '/s3/bucket/folder//'],
    ['one behind a prefix that goes', '/bucket/logs//x', '/logs//x'],
    ['matrix parameters of a part', '/cars/volvo;color=red;year=2026/parts;v=1', '/cars/volvo;color=red;year=2026/parts;v=1'],
    ['an encoded percent sign before two hex digits', '/files/100%2525.pdf', '/files/100%2525.pdf'],
    ['a name that was encoded twice', '/files/caf%25C3%25A9.pdf', '/files/caf%25C3%25A9.pdf'],
    ['all of them', '/all/a//b;c=d/e%2Ff%252525?g=//h;%2f', '/all/a//b;c=d/e%2Ff%252525?g=//h;%2f'],
  ])('%s: %s', async (_, target, seen) => {
    expect(await get(target)).toEqual([200, seen])
  })

  it('at the root of a host', async () => {
    expect(await get('/@scope%2fpkg', 'packages.test')).toEqual([200, '/@scope%2fpkg'])
    expect((await get('/-/admin', 'packages.test'))[0]).toBe(401)
    for (const target of ['/-%2fadmin', '/%2f-/admin', '/x%2f..%2f-/admin']) expect((await get(target, 'packages.test'))[0]).toBe(400)
  })
})

describe('what is no such form needs no leave', () => {
  it.each([
    '/strict/100%25.pdf',
    '/strict/100%25',
    '/strict/100%25zz',
    '/strict/50%25%20off',
    '/strict/caf%C3%A9',
    '/strict/%E6%97%A5%E6%9C%AC',
    '/strict/a%20b',
    '/strict/a+b,c=d&e@f:g!$',
    '/strict/v1.2/x..y/.hidden',
    '/strict/x?a=//b;c%2fd%252e/../e',
    '/strict/x.',
    '/strict/wait...',
    '/strict/a%3Ab%40c',
    '/strict/a%3Fb%23c',
  ])('%s', async (target) => {
    expect(await get(target)).toEqual([200, target])
  })
})

const REFUSED = 'target_ambiguous: The request target is refused: '
const form = (text: string) => `${REFUSED}${text} in the path, which this route does not allow.`
const PERCENT = '%25 before two hex digits'

describe('a route that allows none refuses all of them, and says why', () => {
  it.each([
    ['/strict/group%2Fproject', '%2F'],
    ['/strict/a//b', '//'],
    ['/strict/a;v=1', ';'],
    ['/strict/100%2525.pdf', PERCENT],
    ['/strict/caf%25C3%25A9', PERCENT],
    ['/strict/a//b;c/d%2Fe', '%2F and // and ;'],
  ])('%s: %s', async (target, text) => {
    expect(await get(target)).toEqual([400, form(text)])
  })

  it.each([
    ['/gitlab/a//b', 'encodedSlash', '//'],
    ['/npm/a;b', 'encodedSlash', ';'],
    ['/npm/a%252fb', 'encodedSlash', PERCENT],
    ['/s3/a%2fb', 'doubleSlash', '%2F'],
    ['/cars/a%2fb;c', 'semicolon', '%2F'],
    ['/files/a//b', 'percent', '//'],
  ])('%s on one that allows %s only', async (target, _, text) => {
    expect(await get(target)).toEqual([400, form(text)])
  })
})

describe('what is refused in spite of a leave, and why', () => {
  const ANOTHER = `${REFUSED}another reading of the path leads to another route.`
  const DOTS = `${REFUSED}a dot segment in an encoded form of the path.`
  it.each([
    ['/gitlab/api/v4%2Fadmin', ANOTHER],
    ['/gitlab/api/v4/%2Fadmin', ANOTHER],
    ['/gitlab/api/v4/projects%2F..%2Fadmin', DOTS],
    ['/gitlab/%2Fhost/x', `${REFUSED}the path would begin with // once its prefix is rewritten.`],
    ['/bucket//x', `${REFUSED}the path would begin with // once its prefix is rewritten.`],
    // part of the prefix, not below it
    ['/npm%2f@scope', ANOTHER],
    ['/cars;color=red', ANOTHER],
    ['//strict/x', ANOTHER],
    ['/all//admin', ANOTHER],
    ['/all/;a%2fb/%61dmin', ANOTHER],
    ['/all/admin;x', ANOTHER],
    ['/all/%2561dmin', ANOTHER],
    ['/all/%252e%252e/admin', DOTS],
    ['/all/..;/admin', DOTS],
    ['/all/%2500', `${REFUSED}an encoded control in the path.`],
    [`/all/${';a%2f//b.%20%253b%255c%3f%EF%BD%81'.repeat(3)}`, `${REFUSED}the path can be read in too many ways.`],
  ])('%s', async (target, why) => {
    expect(await get(target)).toEqual([400, why])
  })
})

describe('what is refused everywhere, and why', () => {
  it.each([
    ['/strict/../x', 'a dot segment in the path'],
    ['/strict/%2e%2e/x', 'a dot segment in an encoded form of the path'],
    ['/strict/x\\y', 'a control, a blank, a non-ASCII byte, \\ or # in the path'],
    ['/strict/x#y', 'a control, a blank, a non-ASCII byte, \\ or # in the path'],
    ['/strict/x?y#z', 'a control, a blank or # in the query'],
    ['/strict/x%5cy', 'an encoded control or an encoded \\ in the path'],
    ['/strict/x%00', 'an encoded control or an encoded \\ in the path'],
    ['/strict/x%', 'a % without two hex digits in the path'],
    ['/strict/x%u002e', 'a % without two hex digits in the path'],
    ['/strict/%C0%AE', 'escapes that are no UTF-8, or overlong UTF-8, in the path'],
    ['/strict/caf%E9', 'escapes that are no UTF-8, or overlong UTF-8, in the path'],
    ['http://other.test/strict/x', 'the target does not start with /'],
    ['*', 'the target does not start with /'],
  ])('%s', async (target, why) => {
    expect(await get(target)).toEqual([400, `${REFUSED}${why}.`])
  })
})
