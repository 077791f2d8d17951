/** Reads rules of Prometheus, and the series and labels of PromQL. */
import { parse } from 'yaml'

export interface Rule {
  alert?: string
  record?: string
  expr: string
  for?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
}

export interface Alert extends Rule {
  alert: string
}

const rulesIn = (text: string): Rule[] => (parse(text) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules)
export const alertsIn = (text: string): Alert[] => rulesIn(text).filter((rule): rule is Alert => rule.alert !== undefined)
export const expressionsIn = (text: string): string[] => rulesIn(text).map(({ expr }) => expr)
export const recordedIn = (text: string): string[] => rulesIn(text).flatMap(({ record }) => record ?? [])

const withoutStrings = (promql: string): string => promql.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '""')
const LABEL_LIST = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g
/** Names of functions, operators and durations begin otherwise. */
const SERIES = /^(?:portcullis_|process_|nodejs_|job:|portcullis:\w+:ratio$|up$)/

/** The series that an expression reads, each once. */
export function seriesIn(promql: string): string[] {
  const bare = withoutStrings(promql)
    .replace(LABEL_LIST, '')
    .replace(/\{[^}]*\}/g, '')
  const names = bare.match(/[a-zA-Z_:][a-zA-Z0-9_:]*/g) ?? []
  return [...new Set(names.filter((name) => SERIES.test(name)))]
}

/** The last arguments of label_replace: the label that it makes, and the label that it reads. */
const MADE = /,\s*"(\w+)"\s*,\s*"[^"]*"\s*,\s*"(\w+)"\s*,\s*"[^"]*"\s*\)/g

/** The labels of series that an expression matches, reads or groups by, each once. `le` of histograms is one of them. */
export function labelsIn(promql: string): string[] {
  const bare = withoutStrings(promql)
  const matched = [...bare.matchAll(/\{([^}]*)\}/g)].flatMap(([, matchers]) => [...matchers!.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)])
  const grouped = [...bare.matchAll(LABEL_LIST)].flatMap(([, list]) => [...list!.matchAll(/(\w+)/g)])
  const replaced = promql.includes('label_replace') ? [...promql.matchAll(MADE)] : []
  const besides = new Set(['__name__', ...replaced.map(([, made]) => made!)])
  const used = [...[...matched, ...grouped].map(([, label]) => label!), ...replaced.map(([, , read]) => read!)]
  return [...new Set(used)].filter((label) => !besides.has(label))
}
