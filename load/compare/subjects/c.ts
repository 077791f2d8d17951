/** Proxies written in C: the lowest cost. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AUDIENCE } from '../identity.ts'
import { HAPROXY, NGINX } from './needs.ts'
import type { Subject } from './subject.ts'

function versionOf(command: string): string {
  const { stdout, stderr } = spawnSync(command, ['-v'], { encoding: 'utf8' })
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] ?? 'unknown'
}

const hostOf = (url: string) => new URL(url).host

export const nginx: Subject = {
  name: 'nginx',
  does: 'plain proxy, access log, one worker',
  checksTokens: false,
  needs: [NGINX],
  version: () => versionOf('nginx'),
  async prepare({ folder, port, dependencies }) {
    mkdirSync(join(folder, 'logs'))
    const file = join(folder, 'nginx.conf')
    writeFileSync(
      file,
      `daemon off; worker_processes 1; pid nginx.pid; error_log logs/error.log;
events { worker_connections 4096; }
http {
  access_log logs/access.log;
  keepalive_requests 1000000000;
  upstream api { server ${hostOf(dependencies.upstream)}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
    )
    return { command: ['nginx', '-p', folder, '-c', file] }
  },
}

export const haproxy: Subject = {
  name: 'haproxy',
  does: 'RS256 token by `jwt_verify` with iss, aud and exp, access log, one thread',
  checksTokens: true,
  needs: [HAPROXY],
  version: () => versionOf('haproxy'),
  async prepare({ folder, port, dependencies: { upstream, identity } }) {
    const key = join(folder, 'key.pem')
    writeFileSync(key, identity.publicKeys.RS256)
    const file = join(folder, 'haproxy.cfg')
    writeFileSync(
      file,
      `global
  nbthread 1
  maxconn 4096
  log stdout format raw local0 info
defaults
  mode http
  log global
  option httplog
  http-reuse always
  timeout connect 1s
  timeout client 60s
  timeout server 30s
frontend gate
  bind 127.0.0.1:${port}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny status 401 unless { var(txn.bearer),jwt_header_query('$.alg') -m str RS256 }
  http-request deny status 401 unless { var(txn.bearer),jwt_payload_query('$.iss') -m str ${identity.issuer} }
  http-request deny status 401 unless { var(txn.bearer),jwt_payload_query('$.aud') -m str ${AUDIENCE} }
  http-request deny status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny status 401 unless { var(txn.bearer),jwt_verify(RS256,"${key}") -m int 1 }
  default_backend api
backend api
  server api ${hostOf(upstream)}
`,
    )
    return { command: ['haproxy', '-db', '-f', file], token: () => identity.tokens.RS256 }
  },
}
