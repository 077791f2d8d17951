/** Who may reach a URL, and why: questions about the routes of a configuration. */
import type { Command } from 'commander'
import { groupOf, withExamples } from './help.ts'
import { callersCommand } from './policy-callers.ts'
import { explainCommand } from './policy-explain.ts'
import { testCommand } from './policy-test.ts'
import { routesCommand } from './routes.ts'
import type { Terminal } from './terminal.ts'

export function policyCommand(terminal: Terminal): Command {
  const group = groupOf('policy', 'who may reach a URL, and why', [
    explainCommand(terminal),
    testCommand(terminal),
    routesCommand(terminal, 'portcullis policy routes'),
  ])
  group.addCommand(callersCommand(terminal), { hidden: true })
  return withExamples(
    group,
    `
portcullis policy explain GET /orders --role user
portcullis policy test policy.yaml --junit policy.xml
portcullis policy routes
`,
    'The answers come from the code that real requests pass. Nothing is counted, forwarded or written.',
  )
}
