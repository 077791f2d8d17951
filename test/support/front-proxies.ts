/** Runs the proxies that stand in front of a gateway, with a configuration of docs/behind-a-proxy.md. CADDY and TRAEFIK name other files of the programs. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type Running, start, TOOL_PATH } from './processes.ts'

export const CADDY = process.env.CADDY ?? 'caddy'
export const TRAEFIK = process.env.TRAEFIK ?? 'traefik'

const PATH = TOOL_PATH

/** The text with each of these parts replaced. @throws for a part that the text does not have any more */
export function adapt(text: string, parts: Record<string, string>): string {
  for (const [from, to] of Object.entries(parts)) {
    if (!text.includes(from)) throw new Error(`the text has no ${JSON.stringify(from)}:\n${text}`)
    text = text.replaceAll(from, to)
  }
  return text
}

/** @param folder of its own; nginx's workers are another user, so they must be able to enter it @param text for the section http */
export function startNginx(folder: string, text: string): Running {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n')
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, `daemon off;\npid ${folder}/nginx.pid;\nevents {}\nhttp {\naccess_log off;\n${temporary}\n${text}}\n`)
  return start('nginx', ['-e', 'stderr', '-p', folder, '-c', file], { env: { PATH } })
}

/** @param options global options, each a line */
export function startCaddy(folder: string, text: string, options: readonly string[]): Running {
  const file = join(folder, 'Caddyfile')
  // as the page says
  const isOld = execFileSync(CADDY, ['version'], { encoding: 'utf8' }).includes('2.6.')
  const global = `{\n${['admin off', 'default_bind 127.0.0.1', ...options].map((line) => `\t${line}\n`).join('')}}\n`
  writeFileSync(file, global + (isOld ? text.replace(/^.*stream_close_delay.*$/m, '') : text))
  return start(CADDY, ['run', '--adapter', 'caddyfile', '--config', file], { env: { PATH, HOME: folder } })
}

/** @param routes the dynamic configuration, which the static one names as /etc/traefik/routes.yaml */
export function startTraefik(folder: string, text: string, routes: string): Running {
  const [file, dynamicFile] = [join(folder, 'traefik.yaml'), join(folder, 'traefik-routes.yaml')]
  writeFileSync(dynamicFile, routes)
  // Traefik contacts no other machine
  const quiet = stringify({ global: { checkNewVersion: false, sendAnonymousUsage: false } })
  writeFileSync(file, `${adapt(text, { '/etc/traefik/routes.yaml': dynamicFile })}${quiet}`)
  return start(TRAEFIK, [`--configFile=${file}`], { env: { PATH, HOME: folder } })
}
