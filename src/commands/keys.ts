import { Command } from 'commander'
import type { KeyStatus } from '../identity/tokens/keyring.ts'
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
    groupOf('keys', 'the keys that sign tokens', [listCommand(terminal), rotateCommand(terminal), revokeCommand(terminal)]),
    'portcullis keys list\nportcullis keys rotate\nportcullis keys revoke 5f0c1e9a7b3d24680c',
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
      'for a key that leaked: remove the key that signs, and sign with the next key at once',
    ),
    'portcullis keys rotate\nportcullis keys rotate --now',
    'Without --now the new key signs once every gateway and every cached JWKS know it.\nWith --now every access token of the old key is refused at once. Sessions go on with a refresh.',
  ).action((args: RotateArgs) =>
    withServices(terminal, args, async (services) => {
      const key = await services.identity.administration.rotateKey({ now: args.now ?? false }, services.by)
      terminal.complain(
        key.state === 'current'
          ? `${key.kid} signs now; the old key is removed, and its tokens are refused`
          : `${key.kid} is published and will sign from ${key.activatesAt.toISOString()}`,
      )
      await printKeys(terminal, args, services)
    }),
  )

const revokeCommand = (terminal: Terminal) =>
  withExamples(
    withJson(withConfig(new Command('revoke').description('removes a signing key at once').argument('<KID>', 'as `keys list` shows it'))),
    'portcullis keys revoke 5f0c1e9a7b3d24680c',
    'Every token of the key is refused at once. When the key is the one that signs, the next key signs.',
  ).action((kid: string, args: KeysArgs) =>
    withServices(terminal, args, async (services) => {
      const { Problem } = await import('../platform/lib/errors.ts')
      let signer: KeyStatus
      try {
        signer = await services.identity.administration.revokeKey(kid, services.by)
      } catch (error) {
        if (!(error instanceof Problem && error.code === 'not_found')) throw error
        terminal.complain(`there is no signing key ${JSON.stringify(kid)}\nSee: portcullis keys list`)
        terminal.exitCode = 1
        return
      }
      terminal.complain(`${kid} is removed, and its tokens are refused; ${signer.kid} signs`)
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
  json ? terminal.printJson(rows) : terminal.print(table(rows))
}
