/** `portcullis clients …`: machine clients, by command. */
import { readFileSync } from 'node:fs'
import type { Clients } from '../identity/oauth/clients.service.ts'
import { print, table, UsageError } from '../platform/lib/terminal.ts'
import { BY_OPERATOR } from './users.ts'

export const CLIENTS_HELP = `portcullis clients create|list|disable|enable|delete|rotate-secret --config FILE

  portcullis clients create --name billing --role service --scope introspect     prints the secret, once
  portcullis clients create --name meter-7 --jwks public-keys.json               RFC 7517; the client signs assertions
  portcullis clients list [--json]
  portcullis clients rotate-secret CLIENT    CLIENT is an id or a name; its tokens end with each of these
  portcullis clients disable CLIENT
  portcullis clients enable CLIENT
  portcullis clients delete CLIENT`

export interface ClientsArgs {
  values: { json?: boolean; name?: string; role?: string[]; scope?: string[]; jwks?: string }
  positionals: string[]
}

type Run = (clients: Clients) => Promise<void>

const CHANGES: Record<string, (clients: Clients, ref: string) => Promise<unknown>> = {
  disable: (clients, ref) => clients.disable(ref, BY_OPERATOR),
  enable: (clients, ref) => clients.enable(ref, BY_OPERATOR),
  'rotate-secret': (clients, ref) => clients.rotateSecret(ref, BY_OPERATOR),
}

/** @throws UsageError */
export function readClientsCommand({ values, positionals }: ClientsArgs): Run {
  const [action = '', ref = ''] = positionals
  if (action === 'create') return readCreate(values)
  if (action === 'list')
    return async (clients) => {
      const rows = (await clients.list()).map(({ jwks: _, ...c }) => ({ ...c, roles: c.roles.join(','), scopes: c.scopes.join(' ') }))
      print(values.json ? JSON.stringify(rows) : table(rows))
    }
  const change = CHANGES[action]
  if (!change && action !== 'delete') throw new UsageError('clients takes create, list, disable, enable, delete or rotate-secret')
  if (!ref) throw new UsageError(`clients ${action} needs a CLIENT`)
  return async (clients) => {
    if (change) print(JSON.stringify(await change(clients, ref)))
    else await clients.remove(ref, BY_OPERATOR)
  }
}

function readCreate({ name, role: roles = [], scope: scopes = [], jwks }: ClientsArgs['values']): Run {
  if (!name) throw new UsageError('clients create needs --name')
  const input = { name, roles, scopes, ...(jwks === undefined ? {} : { jwks: readJson('jwks', jwks) }) }
  return async (clients) => print(JSON.stringify(await clients.create(input, BY_OPERATOR)))
}

function readJson(flag: string, file: string) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new UsageError(`--${flag}: ${(error as Error).message}`)
  }
}
