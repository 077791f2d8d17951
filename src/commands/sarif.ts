/** Findings as SARIF 2.1.0 (OASIS), which code hosts show beside the lines of a change. */
import { relative, sep } from 'node:path'
import type { ConfigProblem } from '../platform/config/source.ts'
import { VERSION } from '../platform/lib/version.ts'

export type SarifLevel = 'error' | 'warning' | 'note'
export interface SarifFinding {
  level: SarifLevel
  problem: ConfigProblem
}

const RULES: Record<string, string> = {
  setting: 'A setting is wrong, or has no effect.',
  'route-unreachable': 'No request reaches the route.',
  'route-laxer': "A route lets callers reach what a stricter route protects, through the stricter route's upstream.",
  'route-laxer-network': 'A route lets other networks reach what another route protects by networks.',
  'route-laxer-country': 'A route lets other countries reach what another route protects by countries.',
  'route-overlap': 'A route takes requests from a route with a shorter path.',
  'route-methods': 'Methods of a route with a shorter path get 405 below a longer path.',
  'route-host-first': 'A route of any host is not used for a host that has routes of its own.',
  'role-contained': 'A role that is required contains another role of the list.',
  'access-unreachable': 'Nobody fulfils the requirement of a route.',
  'access-machines-only': 'Only machine clients fulfil the requirement of a route.',
  'limit-unused': 'A limit policy counts nothing.',
  'certificate-name': 'The certificate does not cover a name under which clients reach the gateway.',
  'public-url-plain': 'The public address is plain http, although the listener has a certificate.',
  'file-absent': 'A file that the configuration names is not on this machine.',
  'server-away': 'A server that the configuration names does not answer.',
}

export function sarifOf(findings: readonly SarifFinding[]): object {
  const rules = [...new Set(findings.map(ruleOf))].sort()
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: { name: 'portcullis', version: VERSION, rules: rules.map((id) => ({ id, shortDescription: { text: RULES[id] ?? id } })) },
        },
        columnKind: 'utf16CodeUnits',
        results: findings.map((finding) => ({
          ruleId: ruleOf(finding),
          ruleIndex: rules.indexOf(ruleOf(finding)),
          level: finding.level,
          message: { text: textOf(finding.problem) },
          locations: [locationOf(finding.problem)],
        })),
      },
    ],
  }
}

const ruleOf = ({ problem }: SarifFinding): string => problem.rule ?? 'setting'

const textOf = ({ path, message, hint }: ConfigProblem): string => {
  const what = path === '' ? message : `${path}: ${message}`
  return hint === undefined ? what : `${what}\n${hint}`
}

/** A variable of the environment and a flag have no place in a file: they are named. */
function locationOf({ where, path }: ConfigProblem): object {
  const [, file, line, column] = /^(.*):(\d+):(\d+)$/s.exec(where) ?? []
  if (file === undefined) return { logicalLocations: [{ fullyQualifiedName: where || path || 'configuration' }] }
  return {
    physicalLocation: {
      artifactLocation: { uri: uriOf(file) },
      region: { startLine: Number(line), startColumn: Number(column) },
    },
  }
}

/** Relative to the working folder where the file is in it: a code host knows only paths of the repository. */
function uriOf(file: string): string {
  const path = relative('.', file)
  const shown = path.startsWith('..') ? file : path
  return shown.split(sep).map(encodeURIComponent).join('/')
}
