/** The configuration of what stands in front: the blocks of docs/behind-a-proxy.md, with the values of one installation. */
import { adapt, readTemplate } from './adapt.ts'
import type { PlannedFile } from './files.ts'
import type { Plan } from './plan.ts'

const HOST = 'api.example.com'
const GATEWAY = '127.0.0.1:8080'
const HTTPS = 443

export function frontFiles(plan: Plan): PlannedFile[] {
  switch (plan.front) {
    case 'nginx':
      return [{ name: 'nginx/portcullis.conf', text: nginx(plan) }]
    case 'traefik':
      return [
        { name: 'traefik/traefik.yaml', text: traefik(plan) },
        { name: 'traefik/routes.yaml', text: traefikRoutes(plan) },
      ]
    case 'caddy':
      return [{ name: 'Caddyfile', text: caddy(plan) }]
    case 'nothing':
      return []
  }
}

const nginx = (plan: Plan) =>
  adapt(readTemplate('nginx.conf'), {
    [HOST]: plan.hostName,
    [GATEWAY]: `127.0.0.1:${plan.localPort}`,
    '/etc/ssl/portcullis.pem': plan.certificate!.cert,
    '/etc/ssl/portcullis.key': plan.certificate!.key,
    ...(plan.publicPort === HTTPS
      ? {}
      : {
          'listen 443 ssl;': `listen ${plan.publicPort} ssl;`,
          'https://$host$request_uri': `https://$host:${plan.publicPort}$request_uri`,
          // with the port, which the client has sent
          'proxy_set_header Host $host;': 'proxy_set_header Host $http_host;',
          'X-Forwarded-Host $host;': 'X-Forwarded-Host $http_host;',
        }),
  })

const traefik = (plan: Plan) => adapt(readTemplate('traefik.yaml'), { '":443"': `":${plan.publicPort}"` })

const traefikRoutes = (plan: Plan) =>
  adapt(readTemplate('traefik-routes.yaml'), {
    [HOST]: plan.hostName,
    [GATEWAY]: `127.0.0.1:${plan.localPort}`,
    'port: 9090': `port: ${plan.localAdminPort}`,
    '/etc/ssl/portcullis.pem': plan.certificate!.cert,
    '/etc/ssl/portcullis.key': plan.certificate!.key,
  })

function caddy(plan: Plan): string {
  const site = plan.publicPort === HTTPS ? plan.hostName : `${plan.hostName}:${plan.publicPort}`
  const own = plan.certificate === null ? '' : `\ttls ${plan.certificate.cert} ${plan.certificate.key}\n`
  return adapt(readTemplate('Caddyfile'), {
    [`${HOST} {\n`]: `${site} {\n${own}`,
    [GATEWAY]: `127.0.0.1:${plan.localPort}`,
    'health_port 9090': `health_port ${plan.localAdminPort}`,
  })
}
