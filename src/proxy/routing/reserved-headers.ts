/** Header names that never pass unchanged: fields of the connection, and fields that upstreams trust only from a gateway. */

/** RFC 9110 §7.6.1 */
export const CONNECTION_FIELDS = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
] as const

/** Headers that one kind of product sets for the servers behind it. */
export interface ReservedFamily {
  /** The products, as docs/security.md names them. */
  source: string
  /** A final `*` stands for the rest of the name. */
  names: readonly string[]
}

/**
 * A server that was behind such a product, or expects to be, believes these headers. A client may not send them. The names are those of
 * each product's documentation. Tracing headers of other products pass: they say nothing about the user or the target.
 */
export const RESERVED_FAMILIES: readonly ReservedFamily[] = [
  { source: 'Portcullis', names: ['X-Auth-*', 'X-Request-Id', 'traceparent', 'Via'] },
  {
    source: 'RFC 7239, and what came before it: address, scheme and host of the client',
    names: [
      ...['Forwarded*', 'X-Forward*', 'Z-Forwarded-*', 'X-Real-*', 'Real-IP', 'X-True-*', 'Client-IP', 'X-Client-IP', 'X-ClientIP'],
      ...['X-Cluster-Client-IP', 'X-Originating-*', 'X-ProxyUser-*', 'X-Proxy-*', 'Proxy-*', 'Front-End-Https', 'X-Scheme', 'X-Url-Scheme'],
    ],
  },
  {
    source: 'CGI, WSGI, Rack and nginx: variables and paths of the server',
    names: [
      ...['Remote-*', 'Auth-Type', 'Auth-User', 'Script-Name', 'X-Script-Name', 'Path-Info', 'Request-Uri', 'Proxy', 'X-Accel-*'],
      ...['X-Sendfile-*', 'X-Server-Name', 'X-Nginx-*'],
    ],
  },
  {
    source: 'Symfony, IIS, ASP.NET, Rails and others: another target or method',
    names: [
      ...['X-Original-*', 'X-Rewrite-*', 'X-Host', 'X-Http-Host-Override', 'X-Http-Path-Override', 'X-Http-Method-Override'],
      ...['X-Http-Method', 'X-Method-Override'],
    ],
  },
  { source: 'Next.js: requests between its own parts', names: ['X-Middleware-*', 'X-Invoke-*', 'X-Matched-Path', 'X-Now-*'] },
  {
    source: 'services that leave the login to any proxy',
    names: [
      ...['X-User', 'X-User-Id', 'X-UserId', 'X-Username', 'X-User-Name', 'X-User-Email', 'X-User-Role', 'X-User-Roles', 'X-User-Groups'],
      ...['X-User-Info', 'X-Userinfo', 'X-User-Claims', 'X-User-Permissions', 'X-User-Scopes', 'X-Email', 'X-Role', 'X-Roles', 'X-Groups'],
      ...[
        'X-Authenticated-*',
        'X-Id-Token',
        'X-JWT-Assertion',
        'X-JWT-Payload',
        'X-JWT-Claim-*',
        'X-Remote-*',
        'X-Webauth-*',
        'Impersonate-*',
      ],
    ],
  },
  {
    source: 'client certificates: RFC 9440, nginx, ingress-nginx, HAProxy, Apache, Puppet',
    names: [
      ...['Client-Cert*', 'X-Client-Cert*', 'X-ClientCert*', 'X-Client-Verify', 'X-Client-DN', 'X-Client-S-DN', 'X-SSL-*', 'SSL-Client-*'],
      ...['SSL-Server-*', 'X-TLS-Client-*', 'X-MTLS-*'],
    ],
  },
  { source: 'Cloudflare', names: ['CF-*'] },
  { source: 'Akamai', names: ['True-Client-*', 'X-Akamai-*', 'Akamai-*'] },
  { source: 'Fastly', names: ['Fastly-*'] },
  { source: 'Imperva, Sucuri, Alibaba Cloud, Tencent EdgeOne', names: ['Incap-*', 'X-Sucuri-*', 'Ali-CDN-*', 'EO-*'] },
  {
    source: 'AWS: CloudFront, load balancers, Verified Access, Lattice, API Gateway',
    names: [
      ...['X-Amz-Cf-*', 'CloudFront-*', 'X-Amzn-Oidc-*', 'X-Amzn-Mtls-*', 'X-Amzn-Tls-*', 'X-Amzn-Ava-*', 'X-Amzn-Waf-*'],
      ...['X-Amzn-Lattice-*', 'X-Amzn-Source-*', 'X-Amzn-Vpc*', 'X-Amzn-Request-Context', 'X-Amzn-Lambda-Context', 'X-Amzn-Apigateway-*'],
      'X-Apigateway-*',
    ],
  },
  {
    source: 'Google Cloud: Identity-Aware Proxy, App Engine, Scheduler, Tasks, Endpoints',
    names: ['X-Goog-*', 'X-Appengine-*', 'X-CloudScheduler*', 'X-CloudTasks-*', 'X-Endpoint-API-*'],
  },
  {
    source: 'Microsoft Azure: App Service, Front Door, Application Gateway, Container Apps',
    names: [
      ...['X-MS-*', 'X-Azure-*', 'X-FD-*', 'X-Appgw-*', 'X-ARR-*', 'X-WAWS-*', 'X-AppService-*', 'X-K8se-*', 'X-Site-Deployment-Id'],
      ...['Disguised-Host', 'WAS-Default-Hostname'],
    ],
  },
  { source: 'Fly.io, Vercel, Netlify, DigitalOcean', names: ['Fly-*', 'X-Vercel-*', 'X-NF-*', 'DO-Connecting-IP'] },
  { source: 'oauth2-proxy, Authelia, authentik', names: ['X-Auth-Request-*', 'X-Authentik-*', 'X-Authelia-*'] },
  { source: 'Pomerium, Vouch, caddy-security', names: ['X-Pomerium-*', 'X-Vouch-*', 'X-Token-Subject', 'X-Token-User-*'] },
  { source: 'Tailscale, Teleport', names: ['Tailscale-*', 'X-Tailscale-*', 'Teleport-*'] },
  {
    source: 'Apache modules: mod_auth_openidc, mod_auth_mellon, mod_auth_cas, Shibboleth',
    names: ['OIDC-*', 'Mellon-*', 'CAS-*', 'Shib-*', 'EPPN', 'Persistent-Id', 'Targeted-Id'],
  },
  {
    source: 'SiteMinder, Oracle Access Manager, WebLogic, IBM WebSEAL',
    names: ['SM-*', 'SMUser', 'OAM-*', 'WL-Proxy-*', 'IV-*'],
  },
  {
    source: 'Kong, Tyk, APISIX, Apigee, Gravitee, 3scale, MuleSoft',
    names: [
      ...[
        'X-Consumer-*',
        'X-Credential-*',
        'X-Anonymous-Consumer',
        'X-Kong-*',
        'X-Tyk-*',
        'X-APISIX-*',
        'X-Apigee-*',
        'X-Gravitee-*',
        'X-3scale-*',
      ],
      'X-AGW-*',
    ],
  },
  {
    source: 'Envoy, Istio, Linkerd, Kuma, SPIFFE',
    names: ['X-Envoy-*', 'X-Istio-*', 'Sec-Istio-*', 'L5d-*', 'X-Kuma-*', 'X-Spiffe-*'],
  },
  { source: 'GeoIP modules of Apache and nginx', names: ['GeoIP-*', 'X-GeoIP-*'] },
]

/** `X_Auth.User` reaches CGI, WSGI and PHP applications as the same variable as `X-Auth-User`. @param name in lower case */
export const foldName = (name: string): string => name.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')

const patterns = RESERVED_FAMILIES.flatMap(({ names }) => names.map((name) => name.toLowerCase()))
const wholeNames = new Set(patterns.filter((pattern) => !pattern.endsWith('*')))
const beginnings = patterns.filter((pattern) => pattern.endsWith('*')).map((pattern) => pattern.slice(0, -1))
/** They end with a dash: a name is looked up by its parts. */
const prefixes = new Set(beginnings.filter((beginning) => beginning.endsWith('-')))
const openBeginnings = beginnings.filter((beginning) => !beginning.endsWith('-'))

/** A few look-ups for each part of the name: a client may send any number of names that were never seen before. @param name in lower case */
export function isReservedHeader(name: string): boolean {
  const folded = foldName(name)
  if (wholeNames.has(folded) || openBeginnings.some((beginning) => folded.startsWith(beginning))) return true
  for (let dash = folded.indexOf('-'); dash > 0; dash = folded.indexOf('-', dash + 1)) {
    if (prefixes.has(folded.slice(0, dash + 1))) return true
  }
  return false
}
