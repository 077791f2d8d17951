import { Command } from 'commander'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { groupOf, withExamples } from './help.ts'
import { type Services, withServices } from './services.ts'
import { type Terminal, table } from './terminal.ts'

interface KeysArgs extends ConfigArgs {
  json?: boolean
}
interface RotateArgs extends KeysArgs {
  now?: boolean
}

export const keysCommand = (terminal: Terminal): Command =>
  withExamples(
    groupOf('keys', 'the keys that sign tokens', [listCommand(terminal), rotateCommand(terminal)]),
    'portcullis keys list\nportcullis keys rotate',
  )

const listCommand = (terminal: Terminal) =>
  withExamples(
    withJson(withConfig(new Command('list').description('prints the signing keys'))),
    'portcullis keys list\nportcullis keys list --json',
  ).action((args: KeysArgs) => withServices(terminal, args, (services) => printKeys(terminal, args, services)))

const rotateCommand = (terminal: Terminal) =>
  withExamples(
    withJson(withConfig(new Command('rotate').description('publishes a new signing key'))).option(
      '--now',
      'sign with the new key at once: for a key that is compromised',
    ),
    'portcullis keys rotate\nportcullis keys rotate --now',
    'Without --now the new key signs once every gateway and every cached JWKS know it.',
  ).action((args: RotateArgs) =>
    withServices(terminal, args, async (services) => {
      const key = await services.identity.administration.rotateKey({ now: args.now ?? false }, services.by)
      terminal.complain(
        key.state === 'current' ? `${key.kid} signs now` : `${key.kid} is published and will sign from ${key.activatesAt.toISOString()}`,
      )
      await printKeys(terminal, args, services)
    }),
  )

const withJson = (command: Command) => command.option('--json', 'print JSON instead of a table')

async function printKeys(terminal: Terminal, { json }: KeysArgs, { identity: { administration } }: Services): Promise<void> {
  const rows = (await administration.keys()).map((k) => ({
    kid: k.kid,
    algorithm: k.algorithm,
    state: k.state,
    created: k.createdAt.toISOString(),
    signs_from: k.activatesAt.toISOString(),
    retired: k.retiredAt?.toISOString() ?? '-',
  }))
  terminal.print(json ? JSON.stringify(rows) : table(rows))
}
