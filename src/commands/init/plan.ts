/** What follows from the answers: addresses, ports, networks and the files of a certificate. */
import { isAbsolute, resolve } from 'node:path'
import { problemOfDomain } from '../../platform/acme/acme-settings.ts'
import { isLoopback, portOf } from './addresses.ts'
import { type Answers, WrongAnswer } from './answers.ts'

export interface InitOptions {
  /** The folder that is written to. */
  dir: string
  certificate?: string | undefined
  certificateKey?: string | undefined
  /** Of the ACME account: the gateway fetches its certificate itself. */
  acmeEmail?: string | undefined
  adminEmail?: string | undefined
  /** For `systemd` and `none`; compose has its own. Undefined: the embedded database. */
  databaseUrl?: string | undefined
  /** The same for Redis. Undefined: limits in memory. */
  redisUrl?: string | undefined
}

export interface CertificateFiles {
  cert: string
  key: string
}

export interface Plan extends Answers {
  dir: string
  adminEmail: string | undefined
  databaseUrl: string | undefined
  redisUrl: string | undefined
  /** Of the public URL, as in `URL.hostname`. */
  hostName: string
  publicPort: number
  /** The listener of the gateway. In a container: within the container. */
  listen: { host: string; port: number; redirectPort: number | null }
  admin: { host: string; port: number }
  /** The port of this machine at which whatever stands in front finds the gateway. */
  localPort: number
  /** The port of this machine at which it finds the admin listener. */
  localAdminPort: number
  /** The upstream, as the gateway reaches it. */
  gatewayUpstream: string
  trustedProxies: string[]
  /** Files on this machine: for the gateway, or for what stands in front. Null: nobody needs files. */
  certificate: CertificateFiles | null
  /** The same files as the gateway finds them. Null: the gateway serves plain HTTP. */
  gatewayCertificate: CertificateFiles | null
  /** Null: the certificate comes from files, or whatever stands in front has it. */
  acmeEmail: string | null
  dataDir: string | null
}

/** The network of compose that is published. Its gateway is the address from which programs of this machine connect. */
export const EDGE = { subnet: '172.30.57.0/24', gateway: '172.30.57.1' }
/** Behind it is this machine, for a container. */
export const DOCKER_HOST = 'host.docker.internal'

const CONTAINER = { port: 8080, redirectPort: 8081, adminPort: 9090 }
const PROXY_FILES: CertificateFiles = { cert: '/etc/ssl/portcullis.pem', key: '/etc/ssl/portcullis.key' }
const CONTAINER_FILES: CertificateFiles = { cert: '/portcullis/tls/cert.pem', key: '/portcullis/tls/key.pem' }
const SYSTEMD_FILES: CertificateFiles = { cert: '/etc/portcullis/tls/cert.pem', key: '/etc/portcullis/tls/key.pem' }

/** @throws WrongAnswer when the answers do not fit each other */
export function planOf(answers: Answers, options: InitOptions): Plan {
  const { upstream, publicUrl, run, front } = answers
  const [api, url] = [new URL(upstream), new URL(publicUrl)]
  const isContainer = run === 'compose'
  const isBehind = front !== 'nothing'
  const publicPort = portOf(url)
  const taken = isLoopback(api.hostname) ? portOf(api) : null
  // behind a proxy nobody sees the port
  const localPort = isBehind ? firstFree(8080, taken) : publicPort
  const localAdminPort = firstFree(9090, taken, localPort)
  const certificate = certificateOf(answers, options)
  const servesTls = !isBehind && url.protocol === 'https:'
  const redirectPort = servesTls && publicPort === 443 && taken !== 80 ? 80 : null
  const isOnThisMachine = isLoopback(url.hostname)
  return {
    ...answers,
    dir: options.dir,
    adminEmail: options.adminEmail,
    databaseUrl: isContainer ? undefined : options.databaseUrl,
    redisUrl: isContainer ? undefined : options.redisUrl,
    hostName: url.hostname,
    publicPort,
    listen: isContainer
      ? { host: '0.0.0.0', port: CONTAINER.port, redirectPort: redirectPort === null ? null : CONTAINER.redirectPort }
      : { host: isBehind || isOnThisMachine ? '127.0.0.1' : '0.0.0.0', port: localPort, redirectPort },
    admin: isContainer
      ? { host: needsAdmin(answers) ? '0.0.0.0' : '127.0.0.1', port: CONTAINER.adminPort }
      : { host: '127.0.0.1', port: localAdminPort },
    localPort,
    localAdminPort,
    gatewayUpstream: isContainer && taken !== null ? `${api.protocol}//${DOCKER_HOST}:${portOf(api)}` : upstream,
    trustedProxies: isBehind ? (isContainer ? [`${EDGE.gateway}/32`] : ['127.0.0.1/32', '::1/128']) : [],
    certificate,
    gatewayCertificate: servesTls && options.acmeEmail === undefined ? (isContainer ? CONTAINER_FILES : certificate) : null,
    acmeEmail: options.acmeEmail ?? null,
    dataDir: run === 'systemd' ? '/var/lib/portcullis' : null,
  }
}

/** Traefik and Caddy ask the admin listener whether the gateway is ready. */
export const needsAdmin = ({ front }: Answers): boolean => front === 'traefik' || front === 'caddy'

function certificateOf(answers: Answers, { dir, certificate, certificateKey, acmeEmail }: InitOptions): CertificateFiles | null {
  const { run, front, publicUrl } = answers
  if ((certificate === undefined) !== (certificateKey === undefined))
    throw new WrongAnswer('--certificate and --certificate-key belong together: give both')
  if (acmeEmail !== undefined) {
    assertAcme(answers, certificate)
    return null
  }
  if (publicUrl.startsWith('http:')) {
    if (certificate !== undefined)
      throw new WrongAnswer(`a certificate is for https, and people are to reach the gateway under ${publicUrl}`)
    return null
  }
  if (certificate !== undefined) return { cert: absolute(dir, certificate), key: absolute(dir, certificateKey!) }
  // Caddy fetches its certificate itself
  if (front === 'caddy') return null
  if (front !== 'nothing') return PROXY_FILES
  return run === 'systemd' ? SYSTEMD_FILES : { cert: resolve(dir, 'tls/cert.pem'), key: resolve(dir, 'tls/key.pem') }
}

/** @throws WrongAnswer */
function assertAcme({ front, publicUrl }: Answers, certificate: string | undefined): void {
  const url = new URL(publicUrl)
  if (certificate !== undefined) throw new WrongAnswer('--acme and --certificate exclude each other: give one of them')
  if (front !== 'nothing') throw new WrongAnswer(`--acme is for a gateway with nothing in front of it: ${front} has the certificate`)
  if (url.protocol !== 'https:' || portOf(url) !== 443)
    throw new WrongAnswer(`--acme needs an address with https and port 443: an ACME server asks nowhere else, and not at ${publicUrl}`)
  const problem = problemOfDomain(url.hostname)
  if (problem) throw new WrongAnswer(`--acme: ${url.hostname} ${problem.message}`)
}

function absolute(dir: string, file: string): string {
  const path = isAbsolute(file) ? file : resolve(dir, file)
  // the configurations of nginx, Caddy and Compose have different rules for quotes
  if (!/^[\w./@+-]+$/.test(path)) throw new WrongAnswer(`${path}: name a file whose path has only letters, digits and . _ - + @ /`)
  return path
}

function firstFree(port: number, ...taken: (number | null)[]): number {
  let free = port
  while (taken.includes(free)) free++
  return free
}
