/** Rules about browsers between settings: the session cookie, its origins, the console, service workers. */
import { isAddress, isPublicSuffix, isSameSite, isWithin } from '../../identity/access/site.ts'
import { notShown } from '../../platform/config/harmless.ts'
import type { Config } from '../../platform/config/schema.ts'
import { BUILT_IN_LANGUAGES } from '../../platform/texts/texts.ts'
import { consoleHostsOf } from './console-hosts.ts'
import type { Finding } from './finding.ts'
import { covers } from './service-worker.ts'

const AT = ['auth', 'browser']

/** A host name under which browsers keep cookies and secrets also over plain http. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/** Needs a `server.publicUrl` that is a URL. */
export function checkBrowser(config: Config, problems: Finding[], warnings: Finding[]): void {
  if (!config.auth.browser.enabled) {
    checkUnused(config, warnings)
    return
  }
  const publicUrl = new URL(config.server.publicUrl)
  checkTransport(config, publicUrl, warnings)
  checkCookieDomain(config, publicUrl, problems, warnings)
  checkOrigins(config, publicUrl, problems)
  checkCors(config, problems, warnings)
  checkConsole(config, problems)
  checkLanguages(config, problems, warnings)
  checkServiceWorkers(config, warnings)
}

function checkUnused({ auth, routes }: Config, warnings: Finding[]): void {
  const hasNoEffect = (path: Finding['path']) =>
    warnings.push({ path, message: 'has no effect: browsers have no session cookie', hint: 'set auth.browser.enabled: true' })
  if (auth.browser.origins.length > 0) hasNoEffect([...AT, 'origins'])
  if (auth.browser.cookieDomain !== undefined) hasNoEffect([...AT, 'cookieDomain'])
  routes.forEach(({ browser, serviceWorker }, i) => {
    if (browser.safeMethods === 'strict') hasNoEffect(['routes', i, 'browser', 'safeMethods'])
    if (serviceWorker)
      warnings.push({
        path: ['routes', i, 'serviceWorker'],
        message: 'has no effect: service workers are restricted only where browsers have a session cookie',
        hint: 'remove it, or set auth.browser.enabled: true',
      })
  })
}

function checkTransport({ server }: Config, publicUrl: URL, warnings: Finding[]): void {
  if (publicUrl.protocol === 'https:' || LOOPBACK.test(publicUrl.hostname)) return
  const isBehindTls = server.tls !== undefined || server.trustedProxies.length > 0
  warnings.push({
    path: [...AT, 'enabled'],
    message: isBehindTls
      ? `server.publicUrl is ${publicUrl.origin}: over plain http browsers get no session cookie, except from localhost`
      : `browsers get no session cookie from ${publicUrl.origin}, and cannot log in: plain http protects no cookie, except on localhost`,
    hint: isBehindTls
      ? 'set server.publicUrl to the https address that browsers use'
      : 'set server.tls, or name the balancer that ends TLS in server.trustedProxies, and set server.publicUrl to the https address',
  })
}

function checkCookieDomain({ auth }: Config, publicUrl: URL, problems: Finding[], warnings: Finding[]): void {
  const { cookieDomain: domain } = auth.browser
  if (domain === undefined) return
  const path = [...AT, 'cookieDomain']
  const { hostname } = publicUrl
  if (isAddress(domain))
    problems.push({ path, message: 'must be a domain: cookies of an address belong to that address alone', hint: 'remove it' })
  else if (isPublicSuffix(domain))
    problems.push({
      path,
      message: `${domain} belongs to many owners, so browsers refuse such a cookie`,
      hint: `name your own domain, such as example.${domain}`,
    })
  else if (!isWithin(hostname, domain))
    problems.push({
      path,
      message: `must be ${hostname}, the host of server.publicUrl, or a domain above it`,
      hint: 'browsers refuse a cookie for another domain',
    })
  else if (publicUrl.protocol !== 'https:')
    problems.push({
      path,
      message: 'needs a server.publicUrl of https: a cookie for several hosts is never sent over plain http',
      hint: 'set server.publicUrl, such as https://login.example.com',
    })
  else
    warnings.push({
      path,
      message: `every host below ${domain} receives the session cookie, and can replace it with the session of another account`,
      hint: 'use it only where you trust all of these hosts; without it, the cookie stays with one host',
    })
}

/** Origins whose pages send a cookie with `SameSite=Lax`. */
function checkOrigins(config: Config, publicUrl: URL, problems: Finding[]): void {
  const hosts = [publicUrl.hostname, ...config.routes.flatMap(({ match }) => (match.host === undefined ? [] : [match.host.toLowerCase()]))]
  const { cookieDomain } = config.auth.browser
  config.auth.browser.origins.forEach((origin, i) => {
    const path = [...AT, 'origins', i]
    const url = URL.parse(origin)
    if (url === null) {
      problems.push({ path, message: `must be an origin such as https://app.example.com${notShown(origin)}` })
      return
    }
    const isSame = hosts.some(
      (host) => isSameSite(url.hostname, host) || (cookieDomain !== undefined && areWithin(cookieDomain, url.hostname, host)),
    )
    if (!isSame)
      problems.push({
        path,
        message: `${origin} is of another site than ${hosts[0]}, so that browsers do not send the session cookie from its pages`,
        hint: LOOPBACK.test(url.hostname)
          ? `for development, set server.publicUrl to ${url.protocol}//${url.hostname} and the port of the gateway`
          : 'remove it here: its pages use access tokens, and cors.origins lets them read the answers',
      })
    else if (url.protocol !== publicUrl.protocol)
      problems.push({
        path,
        message: `must begin with ${publicUrl.protocol}// as server.publicUrl does: to browsers, ${url.protocol}// is another site`,
        hint: `write ${publicUrl.protocol}//${url.host}, or change server.publicUrl`,
      })
  })
}

const areWithin = (domain: string, ...hosts: string[]): boolean => hosts.every((host) => isWithin(host, domain))

/** For these origins the gateway decides about CORS, with credentials. */
function checkCors({ auth, cors, routes }: Config, problems: Finding[], warnings: Finding[]): void {
  const { origins } = auth.browser
  if (origins.length > 0) {
    const conflicts = (path: Finding['path']) =>
      problems.push({
        path,
        message: 'conflicts with auth.browser.origins, whose pages the gateway lets in itself',
        hint: 'remove it, or set it to own',
      })
    if (cors.mode === 'upstream') conflicts(['cors', 'mode'])
    routes.forEach((route, i) => {
      if (route.cors.mode === 'upstream') conflicts(['routes', i, 'cors', 'mode'])
    })
  }
  const without = cors.credentials ? cors.origins.filter((origin) => !origins.includes(origin)) : []
  if (without.length > 0)
    warnings.push({
      path: ['cors', 'credentials'],
      message: `the session cookie does not count for pages of ${without.join(', ')}`,
      hint: 'list origins of the same site in auth.browser.origins; pages of other sites use access tokens',
    })
}

/** A page of an upstream may run scripts: on the console's host they could act as the administrator. */
function checkConsole(config: Config, problems: Finding[]): void {
  const { auth, routes } = config
  if (auth.browser.console !== 'public') return
  const hosts = consoleHostsOf(config)
  const served = routes.find(({ match }) => match.host === undefined || hosts.has(match.host.toLowerCase()))
  if (served)
    problems.push({
      path: [...AT, 'console'],
      message: `public needs a host that no route serves, but route ${served.name} serves ${served.match.host ?? 'every host'}`,
      hint: 'set match.host for each route, and another host for server.publicUrl; or set console: admin',
    })
}

function checkLanguages({ auth }: Config, problems: Finding[], warnings: Finding[]): void {
  const { languages, texts } = auth.browser
  languages.forEach((code, i) => {
    if (BUILT_IN_LANGUAGES.includes(code) || Object.hasOwn(texts, code)) return
    problems.push({
      path: [...AT, 'languages', i],
      message: `there are no texts for ${code}`,
      hint: `name a file in auth.browser.texts.${code}; built in: ${BUILT_IN_LANGUAGES.join(', ')}`,
    })
  })
  for (const code of Object.keys(texts))
    if (!languages.includes(code))
      warnings.push({ path: [...AT, 'texts', code], message: 'has no effect', hint: `add ${code} to auth.browser.languages` })
}

/** A script in the folder of the route itself could control the pages of the gateway. */
function checkServiceWorkers({ auth, routes }: Config, warnings: Finding[]): void {
  routes.forEach(({ serviceWorker, match }, i) => {
    if (!serviceWorker) return
    const folder = match.path.replace(/\/*$/, '/')
    if (covers(folder, auth.prefix))
      warnings.push({
        path: ['routes', i, 'serviceWorker'],
        message: `scripts directly below ${folder} are still refused: they would control the pages below ${auth.prefix}`,
        hint: `serve the script from a folder of its own, such as ${folder}app/sw.js`,
      })
  })
}
