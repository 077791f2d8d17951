import { Command } from 'commander'
import type { Config } from '../platform/config/schema.ts'
import { type ConfigArgs, fileOf, load, settingsOf, sourceOf, withConfigFile } from './configuration.ts'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'

/** A reload may wait for another reload, and for workers that start. */
const TIMEOUT_MS = 120_000

/** The answer of `POST /reload` on the admin listener. */
interface Answer {
  status: 'reloaded' | 'refused' | 'stopping'
  needs_restart?: string[]
  warnings?: string[]
  problems?: string[]
}

export const reloadCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfigFile(new Command('reload').description('lets the running gateway read its configuration again, without a restart')),
    'portcullis reload\nportcullis reload --config portcullis.yaml',
    `The configuration names the admin listener of the gateway. The gateway reads the file that it was started with.
Exit codes: 0 the configuration is in force, 1 the gateway does not answer, 2 the configuration is refused and the one before stays in force.`,
  ).action(async (file: string | undefined, args: ConfigArgs) => {
    const url = await urlOf(terminal, args, file)
    const answer = await ask(url)
    if (answer === null) {
      // perhaps the configuration is why the gateway was not found
      await load(terminal, args, { file: fileOf(file, args), needSecrets: false })
      terminal.complain(
        `no answer from ${url}: is the gateway running?\n  if the configuration moves its admin listener, name the present one, for example with --set admin.port=N`,
      )
      terminal.exitCode = 1
      return
    }
    show(terminal, answer)
  })

function show(terminal: Terminal, { status, needs_restart = [], warnings = [], problems = [] }: Answer): void {
  for (const warning of warnings) terminal.complain(`warning: ${warning}`)
  switch (status) {
    case 'reloaded':
      terminal.print('the new configuration is in force')
      if (needs_restart.length) terminal.print(`these settings keep their old values until a restart: ${needs_restart.join(', ')}`)
      return
    case 'refused':
      terminal.complain([...problems, 'the configuration is refused: the one before stays in force'].join('\n'))
      terminal.exitCode = 2
      return
    default:
      terminal.complain('the gateway is stopping')
      terminal.exitCode = 1
  }
}

/** A configuration that is wrong elsewhere still names the admin listener. */
async function urlOf({ io }: Terminal, args: ConfigArgs, file: string | undefined): Promise<string> {
  const { readAdminAddress } = await import('../app/load-config.ts')
  const { host, port }: Config['admin'] = readAdminAddress({ file: sourceOf(fileOf(file, args)), env: io.env, flags: settingsOf(args) })
  const name = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}/reload`
}

/** @returns null without an answer */
async function ask(url: string): Promise<Answer | null> {
  try {
    const response = await fetch(url, { method: 'POST', signal: AbortSignal.timeout(TIMEOUT_MS) })
    const answer = (await response.json()) as Answer
    return ['reloaded', 'refused', 'stopping'].includes(answer.status) ? answer : null
  } catch {
    return null
  }
}
