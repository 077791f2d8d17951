/** What `check` says about forward-auth. */
import { expect, it } from 'vitest'
import { checkConfig } from '../../../src/proxy/routing/check-config.ts'
import { configWith, route } from '../../support/config.ts'

const TRUSTED = { server: { trustedProxies: ['127.0.0.1/32'] } }
const asked = (part: object = {}) => ({ ...route('/app'), upstream: [], forwardAuth: true, ...part })
const about = (part: object) => {
  const { problems, warnings } = checkConfig(configWith(part))
  const lines = warnings.map(({ path, message }) => `${path.join('.')}: ${message}`)
  return { problems, warnings: lines.filter((line) => line.startsWith('routes.0')) }
}

it('accepts routes without an upstream for each dialect', () => {
  for (const dialect of ['nginx', 'traefik', 'caddy', 'haproxy', 'envoy'])
    expect(about({ ...TRUSTED, forwardAuth: { dialect }, routes: [asked()] })).toEqual({ problems: [], warnings: [] })
})

it('refuses what would refuse every question, or could not be judged', () => {
  const refused = (part: object, message: string) => expect(() => configWith(part)).toThrow(message)
  refused({ forwardAuth: { dialect: 'nginx' }, routes: [asked()] }, 'server.trustedProxies: is empty, so that no proxy may ask')
  refused({ ...TRUSTED, forwardAuth: {}, routes: [asked()] }, 'forwardAuth: dialect is missing')
  refused({ ...TRUSTED, forwardAuth: { dialect: 'apache' }, routes: [asked()] }, 'forwardAuth.dialect')
  refused({ ...TRUSTED, routes: [asked()] }, 'routes[0].forwardAuth: needs the section forwardAuth, which says what kind of proxy asks')
  refused({ ...TRUSTED, routes: [{ ...route('/app'), upstream: undefined }] }, 'routes[0].upstream: is missing')
  for (const dialect of ['traefik', 'caddy'])
    refused(
      { server: { ...TRUSTED.server, forwardedBy: 'forwarded' }, forwardAuth: { dialect }, routes: [asked()] },
      `server.forwardedBy: must be x-forwarded for forwardAuth.dialect ${dialect}`,
    )
})

it('warns of settings that have no effect without an upstream, and of CORS headers that nobody adds', () => {
  const forwardAuth = { dialect: 'nginx' }
  const unused = {
    rewrite: { prefix: '/' },
    timeouts: { headersMs: 1 },
    body: { maxBytes: 1 },
    compress: true,
    headers: { request: { set: { 'X-A': 'b' } }, assertion: true },
  }
  expect(about({ ...TRUSTED, forwardAuth, routes: [asked(unused)] }).warnings).toEqual(
    ['rewrite', 'timeouts', 'body', 'compress', 'headers.request', 'headers.assertion'].map(
      (key) => `routes.0.${key}: has no effect without an upstream: the other proxy forwards the requests`,
    ),
  )
  expect(about({ ...TRUSTED, forwardAuth, routes: [{ ...route('/app'), ...unused, headers: {}, forwardAuth: true }] }).warnings).toEqual([])
  expect(about({ ...TRUSTED, forwardAuth, cors: { origins: ['https://a.example'] }, routes: [asked()] }).warnings).toEqual([
    'routes.0.cors: the gateway adds no CORS headers to answers that another proxy forwards',
  ])
})
