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

/** Claims about the user or the target that an upstream might believe. Compared by their folded names. */
const CLAIMS = new Set([
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'true-client-ip',
  'client-ip',
  'cf-connecting-ip',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-request-id',
  'traceparent',
  'remote-user',
  'remote-groups',
  'remote-email',
  'remote-name',
  'x-remote-user',
  'x-remote-addr',
  'x-remote-ip',
  'x-true-ip',
  'x-authenticated-user',
  'x-authenticated-userid',
  'x-webauth-user',
  'x-consumer-username',
  'x-credential-identifier',
  'x-anonymous-consumer',
  'x-user-role',
  'x-user-roles',
  'x-user-email',
  'x-user-id',
  'x-roles',
  'x-pomerium-jwt-assertion',
  'x-goog-iap-jwt-assertion',
  'cf-access-authenticated-user-email',
  'x-amzn-oidc-data',
  'x-host',
  'x-proxy-url',
  'x-http-host-override',
  'proxy-host',
  'via',
  'proxy',
  'request-uri',
  'real-ip',
  'x-server-name',
])
const CLAIM_PREFIXES = ['x-auth-', 'x-forwarded-', 'x-original-', 'x-rewrite-', 'x-ms-client-principal']

/** `X_Auth.User` reaches CGI, WSGI and PHP applications as the same variable as `X-Auth-User`. @param name in lower case */
export const foldName = (name: string): string => name.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')

/** @param name in lower case */
export function isReservedHeader(name: string): boolean {
  const folded = foldName(name)
  return CLAIMS.has(folded) || CLAIM_PREFIXES.some((prefix) => folded.startsWith(prefix))
}
