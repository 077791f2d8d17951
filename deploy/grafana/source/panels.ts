/** The forms of panels that the dashboards use. A dashboard is a list of rows, and a row is a list of panels: their places follow from that. */
import type { GraphFieldConfig } from '@grafana/grafana-foundation-sdk/common'
import type * as grafana from '@grafana/grafana-foundation-sdk/dashboard'
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus'
import type { Options as StatOptions } from '@grafana/grafana-foundation-sdk/stat'
import type { Options as StatesOptions } from '@grafana/grafana-foundation-sdk/statetimeline'
import type { Options as SeriesOptions } from '@grafana/grafana-foundation-sdk/timeseries'

/** A type of Grafana, with the values of its enumerations as text and numbers. */
type Values<T> = T extends string
  ? `${T}`
  : T extends number
    ? number
    : T extends object
      ? { [K in keyof T as K extends `_${string}` ? never : K]: Values<T[K]> }
      : T

type PanelJson = Values<Omit<grafana.Panel, 'targets'>> & { targets: Values<Dataquery>[] }
type RowJson = Omit<Values<grafana.RowPanel>, 'panels'> & { panels: PanelJson[] }
type DashboardJson = Values<Omit<grafana.Dashboard, 'panels'>> & { panels: (PanelJson | RowJson)[] }
type Variable = Values<grafana.VariableModel>

export interface Query {
  expr: string
  /** The name of a series, with `{{label}}` for its labels. */
  legend: string
}

interface Spec {
  title: string
  /** What the panel shows. */
  shows: string
  /** What is normal, so that somebody who sees it for the first time can judge it. */
  normal: string
  /** The alert whose runbook helps. */
  alert?: string
  unit: string
  queries: Query[]
  /** In columns: a row has 24. */
  width?: number
  /** Where the colour changes. */
  steps?: Step[]
}

/** From this value on, this colour. The first step has no value. */
type Step = [from: number | null, color: string]

/** A panel without its place. */
interface Panel extends Omit<PanelJson, 'id' | 'gridPos'> {
  size: { w: number; h: number }
}

export interface Row {
  title: string
  panels: Panel[]
  /** Closed until somebody opens it. */
  isCollapsed?: boolean
}

export interface Dashboard {
  uid: string
  title: string
  description: string
  variables: Variable[]
  rows: Row[]
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
const GREEN: Step[] = [[null, 'green']]
const thresholds = (steps: Step[]): Values<grafana.ThresholdsConfig> => ({
  mode: 'absolute',
  steps: steps.map(([value, color]) => ({ value, color })),
})

function describe({ shows, normal, alert }: Spec): string {
  const link = alert === undefined ? '' : `\n\n[Runbook ${alert}](\${runbooks}#${alert.toLowerCase()})`
  return `${shows}\n\n**Normal:** ${normal}${link}`
}

const targets = (queries: Query[], more: Partial<Values<Dataquery>>) =>
  queries.map(
    ({ expr, legend }, i): Values<Dataquery> => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      editorMode: 'code',
      expr,
      legendFormat: legend,
      ...more,
    }),
  )

interface SeriesSpec extends Spec {
  /** Shows requests with a trace as points, for histograms. */
  hasExemplars?: boolean
  isStacked?: boolean
}

/** Lines over time. */
export function series(spec: SeriesSpec): Panel {
  const { width = 8, hasExemplars = false, isStacked = false, steps } = spec
  const custom: Values<GraphFieldConfig> = {
    drawStyle: 'line',
    lineWidth: 1,
    fillOpacity: isStacked ? 40 : 0,
    showPoints: 'never',
    spanNulls: false,
    stacking: { mode: isStacked ? 'normal' : 'none', group: 'A' },
    thresholdsStyle: { mode: steps === undefined ? 'off' : 'line' },
  }
  const options: Values<SeriesOptions> = {
    legend: { displayMode: 'table', placement: 'bottom', showLegend: true, calcs: ['lastNotNull', 'max'] },
    tooltip: { mode: 'multi', sort: 'desc' },
  }
  return {
    type: 'timeseries',
    title: spec.title,
    description: describe(spec),
    datasource: DATASOURCE,
    targets: targets(spec.queries, { range: true, instant: false, exemplar: hasExemplars }),
    fieldConfig: { defaults: { unit: spec.unit, min: 0, thresholds: thresholds(steps ?? GREEN), custom }, overrides: [] },
    options,
    size: { w: width, h: 8 },
  }
}

interface StatSpec extends Spec {
  steps: Step[]
  decimals?: number
}

/** The value now. */
export function stat(spec: StatSpec): Panel {
  const { width = 4, steps, decimals } = spec
  const options: Values<StatOptions> = {
    graphMode: 'none',
    colorMode: 'value',
    justifyMode: 'auto',
    textMode: spec.queries.length > 1 ? 'value_and_name' : 'auto',
    orientation: 'auto',
    wideLayout: true,
    showPercentChange: false,
    percentChangeColorMode: 'standard',
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  }
  return {
    type: 'stat',
    title: spec.title,
    description: describe(spec),
    datasource: DATASOURCE,
    targets: targets(spec.queries, { range: false, instant: true }),
    fieldConfig: {
      defaults: { unit: spec.unit, ...(decimals !== undefined && { decimals }), thresholds: thresholds(steps) },
      overrides: [],
    },
    options,
    size: { w: width, h: 4 },
  }
}

interface StatesSpec extends Spec {
  /** What each value is called, and its colour. */
  values: Record<string, [text: string, color: string]>
}

/** Bars over time, in the colour of a state. */
export function states(spec: StatesSpec): Panel {
  const mapping: Values<grafana.ValueMap> = {
    type: 'value',
    options: Object.fromEntries(Object.entries(spec.values).map(([value, [text, color]], index) => [value, { text, color, index }])),
  }
  const options: Values<StatesOptions> = {
    mergeValues: true,
    showValue: 'auto',
    alignValue: 'left',
    rowHeight: 0.9,
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
    tooltip: { mode: 'single', sort: 'none' },
  }
  return {
    type: 'state-timeline',
    title: spec.title,
    description: describe(spec),
    datasource: DATASOURCE,
    targets: targets(spec.queries, { range: true, instant: false }),
    fieldConfig: {
      defaults: {
        unit: spec.unit,
        mappings: [mapping],
        thresholds: thresholds(GREEN),
        color: { mode: 'thresholds' },
        custom: { fillOpacity: 80, lineWidth: 0 },
      },
      overrides: [],
    },
    options,
    size: { w: spec.width ?? 12, h: 8 },
  }
}

/** The variables that every dashboard has. `$job` and `$instance` choose the gateways. */
export const COMMON_VARIABLES: Variable[] = [
  {
    type: 'datasource',
    name: 'datasource',
    label: 'Prometheus',
    query: 'prometheus',
    refresh: 1,
    current: { selected: true, text: 'default', value: 'default' },
  },
  queryVariable('job', 'Job', 'label_values(portcullis_build_info, job)'),
  queryVariable('instance', 'Gateway', 'label_values(up{job=~"$job"}, instance)'),
  // where the operator keeps docs/runbooks.md: the same address as in deploy/prometheus/*.yml
  { type: 'constant', name: 'runbooks', hide: 2, skipUrlSync: true, query: 'https://runbooks.example.com/portcullis' },
]

/** A variable of which any number of values may be chosen; all of them unless somebody chooses. */
export function queryVariable(name: string, label: string, query: string): Variable {
  return {
    type: 'query',
    name,
    label,
    datasource: DATASOURCE,
    definition: query,
    query: { qryType: 1, query, refId: 'PrometheusVariableQueryEditor-VariableQuery' },
    // when the time range changes: gateways and routes come and go
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { selected: true, text: ['All'], value: ['$__all'] },
  }
}

/** The panels of a row, from left to right and from top to bottom. @returns the first line below them */
function place(panels: Panel[], top: number, nextId: () => number): { placed: PanelJson[]; bottom: number } {
  let [x, y, height] = [0, top, 0]
  const placed = panels.map(({ size, ...panel }): PanelJson => {
    if (x + size.w > 24) [x, y, height] = [0, y + height, 0]
    const gridPos = { ...size, x, y }
    x += size.w
    height = Math.max(height, size.h)
    return { id: nextId(), ...panel, gridPos }
  })
  return { placed, bottom: y + height }
}

/** What Grafana imports, in its classic model. */
export function toJson({ uid, title, description, variables, rows }: Dashboard): DashboardJson {
  let [id, y] = [0, 0]
  const nextId = () => ++id
  const panels = rows.flatMap(({ title, panels, isCollapsed = false }) => {
    const row: RowJson = { id: nextId(), type: 'row', title, collapsed: isCollapsed, gridPos: { h: 1, w: 24, x: 0, y }, panels: [] }
    const { placed, bottom } = place(panels, y + 1, nextId)
    y = bottom
    return isCollapsed ? [{ ...row, panels: placed }] : [row, ...placed]
  })
  return {
    uid,
    title,
    description,
    tags: ['portcullis'],
    timezone: 'browser',
    editable: true,
    // one cursor over all panels
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    schemaVersion: 42,
    annotations: { list: [] },
    links: [
      {
        title: 'Portcullis',
        type: 'dashboards',
        icon: 'external link',
        tooltip: '',
        tags: ['portcullis'],
        asDropdown: false,
        targetBlank: false,
        includeVars: true,
        keepTime: true,
      },
    ],
    templating: { list: variables },
    panels,
  }
}
