/** The file `compose.yaml`: the gateway with Postgres and Redis, hardened as deploy/compose.yaml is. */
import { DOCKER_HOST, EDGE, needsAdmin, type Plan } from './plan.ts'

/** The same as in deploy/compose.yaml; a test compares them. */
const IMAGES = { gateway: 'portcullis:local', postgres: 'postgres:18.6-trixie', redis: 'redis:8.10.2-alpine' }

export function composeText(plan: Plan): string {
  const { front, gatewayUpstream, certificate, gatewayCertificate } = plan
  const callsHost = gatewayUpstream.includes(DOCKER_HOST)
  return `# Written by portcullis init: the gateway, Postgres and Redis. In this folder:
#   docker compose up --detach --wait
#   docker compose run --rm gateway users list
name: portcullis

services:
  gateway:
    image: ${IMAGES.gateway}
    restart: unless-stopped
    depends_on:
      postgres: { condition: service_healthy }
      redis: { condition: service_healthy }
    env_file: .env
    volumes:
      - ./portcullis.yaml:/portcullis/portcullis.yaml:ro
      # without a mail server, mails are files in ./data/outbox
      - data:/portcullis/data
${
  gatewayCertificate === null
    ? ''
    : `      # user 1000 must be able to read both. A file that was replaced needs: docker compose restart gateway
      - ${certificate!.cert}:${gatewayCertificate.cert}:ro
      - ${certificate!.key}:${gatewayCertificate.key}:ro
`
}    # ${front === 'nothing' ? 'the public port' : `only ${front}, on this machine, connects here`}; the admin listener is never public
    ports:
${portsOf(plan)
  .map((port) => `      - "${port}"`)
  .join('\n')}
${
  callsHost
    ? `    # your API on this machine. It must listen on an address that containers can reach, such as 0.0.0.0
    extra_hosts: ["${DOCKER_HOST}:host-gateway"]
`
    : ''
}    networks: [edge, stores]
    # longer than server.shutdownTimeoutMs
    stop_grace_period: 30s
    init: true
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]

  postgres:
    image: ${IMAGES.postgres}
    restart: unless-stopped
    environment:
      POSTGRES_USER: portcullis
      POSTGRES_DB: portcullis
      POSTGRES_PASSWORD: "\${POSTGRES_PASSWORD:?it is missing in .env}"
    # since version 18 the image keeps its data in a subfolder for its version
    volumes: ["postgres:/var/lib/postgresql"]
    healthcheck:
      # by TCP: during the first set-up the server listens only on its socket
      test: [CMD, pg_isready, --host=127.0.0.1, --username=portcullis, --dbname=portcullis]
      interval: 5s
      timeout: 3s
      retries: 12
    networks: [stores]
    shm_size: 128mb
    stop_grace_period: 30s
    # the image's user postgres: its entrypoint then needs no capability
    user: "999:999"
    read_only: true
    tmpfs: ["/tmp:size=64m,mode=1777", "/run/postgresql:size=1m,mode=1777"]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]

  redis:
    image: ${IMAGES.redis}
    restart: unless-stopped
    # only counters, nothing to keep. Eviction would lose limits
    command:
      - redis-server
      - --requirepass
      - "\${REDIS_PASSWORD:?it is missing in .env}"
      - --save
      - ""
      - --appendonly
      - "no"
      - --maxmemory
      - 256mb
      - --maxmemory-policy
      - noeviction
    environment:
      REDISCLI_AUTH: "\${REDIS_PASSWORD:?it is missing in .env}"
    # the image's user redis: its entrypoint then needs no capability
    user: "999:1000"
    tmpfs: ["/data:size=16m,mode=1777"]
    healthcheck:
      test: [CMD-SHELL, "redis-cli ping | grep -q PONG"]
      interval: 5s
      timeout: 3s
      retries: 12
    networks: [stores]
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]

networks:
  # put your API here as a service without published ports, so that it can be reached only through the gateway
  edge:
    # programs of this machine connect from the gateway of this network
    ipam: { config: [{ subnet: ${EDGE.subnet}, gateway: ${EDGE.gateway} }] }
  stores: { internal: true }

volumes:
  data:
  postgres:
`
}

function portsOf(plan: Plan): string[] {
  const { front, listen, publicPort, localPort, localAdminPort, publicUrl } = plan
  if (front !== 'nothing')
    return [`127.0.0.1:${localPort}:${listen.port}`, ...(needsAdmin(plan) ? [`127.0.0.1:${localAdminPort}:${plan.admin.port}`] : [])]
  const address = publicUrl.startsWith('http:') ? '127.0.0.1:' : ''
  return [`${address}${publicPort}:${listen.port}`, ...(listen.redirectPort === null ? [] : [`80:${listen.redirectPort}`])]
}
