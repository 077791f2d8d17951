/**
 * Which hosts are of one site. Browsers decide by the Public Suffix List, which is not on board. The rule here is stricter: where it cannot
 * know, two hosts are of different sites.
 */
import { isIP } from 'node:net'

/** Second-level names below which registries of countries hand out domains, such as co.uk and com.au. */
const SECOND_LEVEL = new Set([
  'ac',
  'co',
  'com',
  'edu',
  'go',
  'gob',
  'gov',
  'gv',
  'ltd',
  'mil',
  'ne',
  'net',
  'nom',
  'or',
  'org',
  'plc',
  'sch',
])

/** Domains of hosters, below which each customer has a name. */
const HOSTERS = new Set([
  ...['amazonaws.com', 'appspot.com', 'azurecontainerapps.io', 'azurestaticapps.net', 'azurewebsites.net', 'blogspot.com', 'cloudapp.net'],
  ...['cloudflare.net', 'cloudfront.net', 'ddns.net', 'duckdns.org', 'dyndns.org', 'elasticbeanstalk.com', 'firebaseapp.com', 'fly.dev'],
  ...['github.io', 'gitlab.io', 'herokuapp.com', 'jelastic.com', 'kasserver.com', 'my-router.de', 'netlify.app', 'ngrok.app', 'ngrok.io'],
  ...[
    'ngrok-free.app',
    'no-ip.org',
    'now.sh',
    'nip.io',
    'onrender.com',
    'pages.dev',
    'railway.app',
    'readthedocs.io',
    'render.com',
    'repl.co',
  ],
  ...['run.app', 'sslip.io', 'surge.sh', 'trycloudflare.com', 'up.railway.app', 'vercel.app', 'web.app', 'windows.net', 'workers.dev'],
])

/** Domains may be registered directly below it. @param domain in lower case */
export function isPublicSuffix(domain: string): boolean {
  const labels = domain.split('.')
  if (labels.length === 1 || HOSTERS.has(domain)) return true
  return labels.length === 2 && labels[1]!.length === 2 && SECOND_LEVEL.has(labels[0]!)
}

/** @param parent a host name, without a dot before it */
export const isWithin = (host: string, parent: string): boolean => host === parent || host.endsWith(`.${parent}`)

/**
 * Both hosts are the same, or both are below one domain that somebody has registered.
 * @param a @param b host names in lower case, as `URL.hostname` has them
 */
export function isSameSite(a: string, b: string): boolean {
  if (a === b) return true
  if (isAddress(a) || isAddress(b)) return false
  const [left, right] = [a.split('.').reverse(), b.split('.').reverse()]
  const differs = left.findIndex((label, i) => label !== right[i])
  const shared = left.slice(0, differs < 0 ? left.length : differs)
  return shared.length > 1 && !isPublicSuffix(shared.reverse().join('.'))
}

export const isAddress = (hostname: string): boolean => hostname.startsWith('[') || isIP(hostname) !== 0
