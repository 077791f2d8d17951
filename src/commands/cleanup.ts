import { Command } from 'commander'
import { type ConfigArgs, withConfig } from './configuration.ts'
import { withExamples } from './help.ts'
import { withServices } from './services.ts'
import type { Terminal } from './terminal.ts'

export const cleanupCommand = (terminal: Terminal): Command =>
  withExamples(
    withConfig(new Command('cleanup').description('removes expired sessions, expired tokens and old audit rows now')),
    'portcullis cleanup\nportcullis cleanup --config portcullis.yaml',
    'A running gateway does this every 6 hours.',
  ).action((args: ConfigArgs) =>
    withServices(terminal, args, async ({ identity: { cleanup } }) => {
      const { CleanupFailed } = await import('../app/cleanup.ts')
      try {
        const result = await cleanup()
        result ? terminal.printJson(result) : terminal.print('another gateway is cleaning up')
      } catch (error) {
        if (error instanceof CleanupFailed) terminal.printJson(error.result)
        throw error
      }
    }),
  )
