/** The commands that follow `init`, as they are typed. */
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { packageFile } from '../../platform/lib/version.ts'
import type { Plan } from './plan.ts'

const FRONT_COMMANDS: Record<Plan['front'], string[]> = {
  nginx: ['sudo cp -i nginx/portcullis.conf /etc/nginx/conf.d/ && sudo nginx -t && sudo systemctl reload nginx'],
  traefik: ['sudo cp -i traefik/traefik.yaml traefik/routes.yaml /etc/traefik/ && sudo systemctl restart traefik'],
  caddy: ['sudo tee -a /etc/caddy/Caddyfile < Caddyfile && sudo systemctl reload caddy'],
  nothing: [],
}

const AS_THE_UNIT = '--pipe --wait --uid=portcullis --working-directory=/opt/portcullis --property=EnvironmentFile=/etc/portcullis/env'
const ADMIN = 'users create --email you@example.com --username you --role admin'

export function nextSteps(plan: Plan): string[] {
  const { dir, run, front, adminEmail } = plan
  return [
    ...(dir === process.cwd() ? [] : [`cd ${quoted(dir)}`]),
    ...runCommands(run),
    ...FRONT_COMMANDS[front],
    ...(adminEmail === undefined ? adminCommands(run) : []),
  ]
}

function runCommands(run: Plan['run']): string[] {
  switch (run) {
    case 'compose':
      return [...imageCommands(), 'docker compose up --detach --wait']
    case 'systemd':
      return [
        'sudo useradd --system --no-create-home portcullis',
        'sudo install -D -m 644 portcullis.yaml /etc/portcullis/portcullis.yaml && sudo install -m 600 .env /etc/portcullis/env && sudo install -m 644 portcullis.service /etc/systemd/system/',
        'sudo systemctl daemon-reload && sudo systemctl enable --now portcullis',
      ]
    case 'none':
      return ['set -a; . ./.env; set +a', 'portcullis doctor', 'portcullis serve']
  }
}

/** Only in a checkout: the image has no file to build itself from. */
function imageCommands(): string[] {
  const file = packageFile('deploy/Dockerfile')
  return existsSync(file) ? [`docker build -t portcullis:local -f ${quoted(file)} ${quoted(dirname(dirname(file)))}`] : []
}

function adminCommands(run: Plan['run']): string[] {
  switch (run) {
    case 'compose':
      return [`docker compose run --rm gateway ${ADMIN}`]
    case 'systemd':
      return [`sudo systemd-run ${AS_THE_UNIT} /usr/bin/node dist/src/cli.js ${ADMIN} --config /etc/portcullis/portcullis.yaml`]
    case 'none':
      return [`portcullis ${ADMIN}   # in a second terminal, while it runs`]
  }
}

const quoted = (path: string) => (/^[\w./@+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`)
