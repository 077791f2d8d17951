import { Command } from 'commander'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { groupOf, withExamples } from './help.ts'
import { type Services, withServices } from './services.ts'
import { type Terminal, table } from './terminal.ts'
import { collect, UsageError } from './usage.ts'

interface CreateArgs extends ConfigArgs {
  name?: string
  role?: string[]
  scope?: string[]
  jwks?: string
}
interface ListArgs extends ConfigArgs {
  json?: boolean
}

/** An action on one OAuth client, given by id or name. The command prints the result. */
interface Change {
  name: string
  description: string
  apply(services: Services, client: string): Promise<unknown>
}

const CHANGES: readonly Change[] = [
  {
    name: 'disable',
    description: 'disables a client; its tokens end',
    apply: ({ identity: { clients }, by }, client) => clients.disable(client, by),
  },
  {
    name: 'enable',
    description: 'enables a disabled client',
    apply: ({ identity: { clients }, by }, client) => clients.enable(client, by),
  },
  {
    name: 'delete',
    description: 'deletes a client; its tokens end',
    apply: ({ identity: { clients }, by }, client) => clients.remove(client, by),
  },
  {
    name: 'rotate-secret',
    description: 'prints a new secret, once; the tokens of the client end',
    apply: ({ identity: { clients }, by }, client) => clients.rotateSecret(client, by),
  },
]

export function clientsCommand(terminal: Terminal): Command {
  const group = groupOf('clients', 'machine clients', [
    createCommand(terminal),
    listCommand(terminal),
    ...CHANGES.map((change) => changeCommand(terminal, change)),
  ])
  return withExamples(
    group,
    'portcullis clients create --name billing --role service --scope introspect\nportcullis clients rotate-secret billing',
  )
}

const createCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('create').description('registers a client and prints its secret, once'))
      .option('--name <NAME>', 'required; unique among the clients')
      .option('--role <ROLE>', 'a role of auth.roles; may be repeated', collect)
      .option('--scope <SCOPE>', 'a scope that the client may ask for; may be repeated', collect)
      .option('--jwks <FILE>', 'the public keys (RFC 7517) of a client that signs assertions instead of a secret'),
    `
portcullis clients create --name billing --role service --scope introspect
portcullis clients create --name meter-7 --jwks public-keys.json
`,
  ).action(async ({ name, role = [], scope = [], jwks, ...args }: CreateArgs) => {
    if (!name) throw new UsageError('clients create needs --name')
    const input = { name, roles: role, scopes: scope, ...(jwks === undefined ? {} : { jwks: await readKeys(terminal, jwks) }) }
    await withServices(terminal, args, async ({ identity: { clients }, by }) => terminal.printJson(await clients.create(input, by)))
  })

const listCommand = (terminal: Terminal) =>
  withExamples(
    withConfig(new Command('list').description('prints the clients')).option('--json', 'print JSON instead of a table'),
    'portcullis clients list\nportcullis clients list --json',
  ).action(({ json, ...args }: ListArgs) =>
    withServices(terminal, args, async ({ identity: { clients } }) => {
      const rows = (await clients.list()).map(({ jwks: _, ...c }) => ({ ...c, roles: c.roles.join(','), scopes: c.scopes.join(' ') }))
      json ? terminal.printJson(rows) : terminal.print(table(rows))
    }),
  )

const changeCommand = (terminal: Terminal, { name, description, apply }: Change) =>
  withExamples(
    withConfig(new Command(name).description(description).argument('<CLIENT>', 'the id or the name of the client')),
    `portcullis clients ${name} billing`,
  ).action((client: string, args: ConfigArgs) =>
    withServices(terminal, args, async (services) => {
      const result = await apply(services, client)
      if (result !== undefined) terminal.printJson(result)
    }),
  )

async function readKeys({ readInput }: Terminal, file: string) {
  const text = await readInput(file, '--jwks')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`--jwks ${file}: is not valid JSON: ${(error as Error).message}`)
  }
}
