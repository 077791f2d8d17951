/** The file `portcullis.yaml`: what differs from the defaults, with the reasons. */
import type { Plan } from './plan.ts'

export function configurationText(plan: Plan): string {
  const { front, listen, admin, publicUrl, trustedProxies, dataDir, gatewayUpstream, run } = plan
  return `${[
    '# Written by portcullis init. docs/configuration.md lists every setting.',
    '# After a change: portcullis check portcullis.yaml',
    'server:',
    ...(listen.host === '127.0.0.1' ? [`  # ${front === 'nothing' ? 'only this machine' : `only ${front}`} connects here`] : []),
    `  host: ${listen.host}`,
    `  port: ${listen.port}`,
    '  # the address that people use; it is also the issuer of the tokens',
    `  publicUrl: ${publicUrl}`,
    ...(trustedProxies.length > 0
      ? [
          `  # the addresses from which ${front} connects: only their X-Forwarded-For is believed`,
          ...(run === 'compose' ? ['  # programs of this machine have this address in the network edge of compose.yaml'] : []),
          `  trustedProxies: [${trustedProxies.map((network) => `"${network}"`).join(', ')}]`,
        ]
      : []),
    ...tlsLines(plan),
    '# metrics and health. It has no login: it must never be public',
    `admin: { host: ${admin.host}, port: ${admin.port} }`,
    ...(dataDir === null
      ? []
      : ['# the embedded database, if DATABASE_URL is empty, and mails, if there is no mail server', `database: { dataDir: ${dataDir} }`]),
    'routes:',
    '  # the longest path that fits a request decides',
    '  - name: api',
    '    match: { path: / }',
    `    upstream: ["${gatewayUpstream}"]`,
    '    # public, authenticated, or for example { roles: [admin] }',
    '    access: authenticated',
  ].join('\n')}\n`
}

function tlsLines({ gatewayCertificate, acmeEmail, hostName, listen: { redirectPort } }: Plan): string[] {
  if (gatewayCertificate === null && acmeEmail === null) return []
  const source =
    gatewayCertificate === null
      ? [
          '  # the certificate comes from an ACME server, by default Let’s Encrypt, and is renewed early',
          '  tls:',
          `    acme: { domains: [${hostName}], email: ${JSON.stringify(acmeEmail)}, termsOfServiceAgreed: true }`,
        ]
      : [
          '  # PEM files: the chain, leaf first, and its private key. New files are loaded without a restart',
          '  tls:',
          `    cert: ${gatewayCertificate.cert}`,
          `    key: ${gatewayCertificate.key}`,
        ]
  return [...source, ...(redirectPort === null ? [] : ['    # sends plain http to https', `    redirectPort: ${redirectPort}`])]
}
