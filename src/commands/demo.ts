import { Command } from 'commander'
import { type ConfigArgs, settingsOf, withConfig, withPort } from './configuration.ts'
import { withExamples } from './help.ts'
import { openLogOutput } from './log-output.ts'
import { acceptCommands } from './serve.ts'
import type { Terminal } from './terminal.ts'

export const demoCommand = (terminal: Terminal): Command =>
  withExamples(
    withPort(
      withConfig(new Command('demo').description('runs a small API behind a gateway, to try things out'), 'the configuration of the demo'),
    ),
    `
portcullis demo
portcullis demo --port 8081 --set admin.port=9091
`,
    `The API has orders, an event feed and a WebSocket. The accounts are in an embedded database in ./data/demo.
The demo needs no other service and no secret key.`,
  ).action(async (args: ConfigArgs) => {
    const flags = settingsOf(args)
    const [{ runDemo }, { output }] = await Promise.all([import('../demo/demo.ts'), openLogOutput(terminal.io)])
    await runDemo({ file: args.config, flags, output, withServices: acceptCommands(terminal) })
    terminal.exitCode = null
  })
