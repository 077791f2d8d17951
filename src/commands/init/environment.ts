/** The file `.env`: secrets, and what depends on the machine. Compose, systemd, a shell and Node read the same form. */
import { randomBytes } from 'node:crypto'
import { parseEnv } from 'node:util'
import type { Plan } from './plan.ts'

export type Environment = Readonly<Record<string, string>>

/** New random values. Letters and digits only, except in the key: the passwords become part of URLs. */
const newSecrets = () => ({
  PORTCULLIS_SECRET_KEY: randomBytes(32).toString('base64'),
  POSTGRES_PASSWORD: randomBytes(24).toString('hex'),
  REDIS_PASSWORD: randomBytes(24).toString('hex'),
  PORTCULLIS_ADMIN_PASSWORD: randomBytes(12).toString('base64url'),
})

export const readEnvironmentFile = (text: string): Environment => parseEnv(text) as Record<string, string>

/** Variables whose value must fit the passwords beside them. */
const DERIVED = ['DATABASE_URL', 'REDIS_URL']

/** @param before the variables of a file that is replaced: its secrets, and what this program does not write, stay */
export function environmentText({ run, adminEmail, databaseUrl, redisUrl }: Plan, before: Environment): string {
  const isCompose = run === 'compose'
  const value = { ...newSecrets(), ...filled(before) }
  const stores = isCompose
    ? {
        DATABASE_URL: `postgres://portcullis:${encodeURIComponent(value.POSTGRES_PASSWORD)}@postgres:5432/portcullis`,
        REDIS_URL: `redis://:${encodeURIComponent(value.REDIS_PASSWORD)}@redis:6379`,
      }
    : { DATABASE_URL: databaseUrl ?? before.DATABASE_URL ?? '', REDIS_URL: redisUrl ?? before.REDIS_URL ?? '' }
  const email = adminEmail ?? before.PORTCULLIS_ADMIN_EMAIL ?? ''
  const written: Environment = {
    PORTCULLIS_SECRET_KEY: value.PORTCULLIS_SECRET_KEY,
    PORTCULLIS_ADMIN_EMAIL: email,
    PORTCULLIS_ADMIN_PASSWORD: email === '' ? '' : value.PORTCULLIS_ADMIN_PASSWORD,
    ...(isCompose && { POSTGRES_PASSWORD: value.POSTGRES_PASSWORD, REDIS_PASSWORD: value.REDIS_PASSWORD }),
    ...stores,
  }
  const others = Object.entries(before).filter(([name]) => !(name in written) && !DERIVED.includes(name))
  return `${[
    '# Secrets of Portcullis, written by portcullis init. Only you may read this file. It belongs in no repository.',
    '',
    '# It protects the signing keys in the database. Without it, the gateway does not start on that database: keep a copy in another place.',
    line('PORTCULLIS_SECRET_KEY', written),
    '',
    '# The first admin, made at the first start when there is none. The password must be changed at the first login. Remove both then.',
    line('PORTCULLIS_ADMIN_EMAIL', written),
    line('PORTCULLIS_ADMIN_PASSWORD', written),
    '',
    ...(isCompose
      ? [
          '# Postgres keeps the password of its first start. Both passwords are also in the URLs below.',
          line('POSTGRES_PASSWORD', written),
          line('REDIS_PASSWORD', written),
        ]
      : ['# postgres://user:password@host:5432/name and redis://:password@host:6379. Empty: an embedded database, and limits in memory.']),
    line('DATABASE_URL', written),
    line('REDIS_URL', written),
    '',
    '# The mail server. Without it, mails are files in the folder outbox of database.dataDir.',
    ...('PORTCULLIS_MAIL__URL' in before ? [] : ['# PORTCULLIS_MAIL__URL=smtp://user:password@mail.example.com:587']),
    ...others.map(([name]) => line(name, before)),
  ].join('\n')}\n`
}

/** The same text without its secrets. */
export const withoutValues = (text: string): string => text.replace(/^(\w+)=.+$/gm, '$1=***')

const filled = (environment: Environment): Environment =>
  Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))

/** In single quotes nothing has a meaning, in all four programs. @throws for what they cannot hold */
function line(name: string, environment: Environment): string {
  const value = environment[name]!
  if (/^[\w@%+=:,./-]*$/.test(value)) return `${name}=${value}`
  if (/['\r\n]/.test(value)) throw new Error(`${name}: a value with a quote or a line break cannot be written to .env`)
  return `${name}='${value}'`
}
