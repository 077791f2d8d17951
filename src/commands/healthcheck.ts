import { Command } from 'commander'
import { type ConfigArgs, load, withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'

const TIMEOUT_MS = 3000

export const healthcheckCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(new Command('healthcheck').description('asks /readyz of the admin listener: exit code 0 when the gateway is ready, else 1')),
    'portcullis healthcheck\nportcullis healthcheck --set admin.port=9091',
  ).action(async (args: ConfigArgs) => {
    const { admin } = (await load(terminal, args, { needSecrets: false })).config
    const host = admin.host === '0.0.0.0' || admin.host === '::' ? '127.0.0.1' : admin.host
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${admin.port}/readyz`
    const status = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) }).then(
      (r) => r.status,
      () => 0,
    )
    terminal.print(status === 200 ? 'ready' : status === 0 ? `no answer from ${url}: is the gateway running?` : 'not ready')
    if (status !== 200) terminal.exitCode = 1
  })
