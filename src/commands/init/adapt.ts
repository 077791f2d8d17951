/** Texts that the pages of the documentation show, with the values of one installation. */
import { readFileSync } from 'node:fs'

export type Template = 'nginx.conf' | 'traefik.yaml' | 'traefik-routes.yaml' | 'Caddyfile' | 'portcullis.service'

export const readTemplate = (name: Template): string => readFileSync(new URL(`./templates/${name}`, import.meta.url), 'utf8')

/** Replaces each part everywhere, all of them at the same time. @throws when the text does not have a part */
export function adapt(text: string, parts: Readonly<Record<string, string>>): string {
  for (const part of Object.keys(parts)) if (!text.includes(part)) throw new Error(`the template has no ${JSON.stringify(part)}`)
  const escaped = Object.keys(parts).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return text.replace(new RegExp(escaped.join('|'), 'g'), (part) => parts[part]!)
}
