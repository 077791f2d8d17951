/** `docs/errors.md`, from the catalogue and its guide. */
import { type ErrorGuide, errorGuide, fieldGuide } from '../lib/error-guide.ts'
import { type ErrorCode, errorCatalogue } from '../lib/errors.ts'
import { code, row } from './markdown.ts'

const PREFACE = `<!-- Made by \`npm run schema\` from src/platform/lib/errors.ts and error-guide.ts: change it there. -->
# Errors

Every error of the gateway is a problem document (RFC 9457) of the type \`application/problem+json\`:

\`\`\`json
{
  "type": "about:blank",
  "title": "Unprocessable Content",
  "status": 422,
  "code": "validation_failed",
  "detail": "The password must be at least 12 characters long.",
  "request_id": "5fc3a8ae-69fe-44a4-b719-b9fb4411e30c",
  "timestamp": "2026-11-21T13:40:56.735Z",
  "errors": [{ "field": "password", "code": "too_short", "detail": "must be at least 12 characters long" }]
}
\`\`\`

\`code\` is stable: decide by it. \`detail\` is a sentence for people, and its words may change. \`errors\` is there only with
\`validation_failed\`. The log, the metric \`portcullis_errors_total\` and \`GET /admin/errors\` have the same code, and the log has the cause
under the same request id. Paths of endpoints below follow \`auth.prefix\`, which is \`/auth\` by default. \`detail\` has the whole path.

Errors of an upstream pass unchanged. An error without \`code\` and \`request_id\` comes from the upstream.

The endpoints \`/token\`, \`/introspect\` and \`/revoke\` answer in the form of RFC 6749 instead:
\`{"error": "invalid_client", "error_description": "…"}\`.
`

const FIELDS = `## Codes of a field

With \`validation_failed\`, each entry of \`errors\` has one of these codes.
`

export function errorsPage(): string {
  const catalogue = errorCatalogue()
  const statuses = [...new Set(catalogue.map(({ status }) => status))].sort((a, b) => a - b)
  const sections = statuses.map((status) => {
    const ofStatus = catalogue.filter((entry) => entry.status === status)
    return [`## ${status} ${ofStatus[0]!.title}`, '', ...ofStatus.flatMap(section)].join('\n')
  })
  const index = catalogue.map(({ code: name, status }) => row([String(status), `[${code(name)}](#${name})`, guideOf(name).when]))
  const fields = Object.entries(fieldGuide).map(([name, text]) => row([code(name), text]))
  return [
    PREFACE,
    ['| Status | Code | When |', '|---|---|---|', ...index, ''].join('\n'),
    ...sections,
    [FIELDS, '| Code | |', '|---|---|', ...fields, ''].join('\n'),
  ].join('\n')
}

/** The guide of a code. @throws when somebody has added the code without its guide: the program runs before its types are checked */
export function guideOf(name: ErrorCode, guide: Partial<Record<ErrorCode, ErrorGuide>> = errorGuide): ErrorGuide {
  const entry = guide[name]
  if (!entry) throw new Error(`${name} has no entry in src/platform/lib/error-guide.ts`)
  return entry
}

function section({ code: name, detail }: ReturnType<typeof errorCatalogue>[number]): string[] {
  const { when, client, operator } = guideOf(name)
  return [
    `### ${name}`,
    '',
    when,
    '',
    `- **Detail**: ${detail.replaceAll('<', '\\<')}`,
    `- **Client**: ${client}`,
    `- **Operator**: ${operator}`,
    '',
  ]
}
