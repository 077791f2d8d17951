import { COMMON_VARIABLES, type Dashboard, queryVariable, series, stat, states } from './panels.ts'

/** The gateways that are chosen, and the routes. */
const GATEWAY = 'job=~"$job",instance=~"$instance"'
const ROUTE = `${GATEWAY},route=~"$route"`
const UPSTREAM_FAILURES = 'upstream_unreachable|upstream_invalid|upstream_timeout'

/** @param by labels that stay apart */
const quantile = (q: number, metric: string, by = '') =>
  `histogram_quantile(${q}, sum by (${by}${by && ', '}le) (rate(portcullis_${metric}_bucket{${metric === 'upstream_duration_seconds' ? GATEWAY : ROUTE}}[$__rate_interval])))`

/** The objectives of deploy/prometheus/slo.yml, and the series of what misses them. */
const OBJECTIVES = { availability: 'availability_errors', latency: 'latency_slow', login: 'login_errors' }
type Objective = keyof typeof OBJECTIVES

const missed = (objective: Objective, window: string) =>
  `max by (job) (job:portcullis_${OBJECTIVES[objective]}:ratio_rate${window}{job=~"$job"})`
/** 1: exactly the errors that the objective allows. */
const burnRate = (objective: Objective) => `${missed(objective, '5m')} / scalar(1 - portcullis:${objective}_objective:ratio)`

export const requests: Dashboard = {
  uid: 'portcullis-requests',
  title: 'Portcullis: life of a request',
  description: 'What clients notice, what comes in, where the time goes, and which upstream fails. Begin here.',
  variables: [...COMMON_VARIABLES, queryVariable('route', 'Route', 'label_values(portcullis_http_requests_total{job=~"$job"}, route)')],
  rows: [
    {
      title: 'Do users notice anything?',
      panels: [
        stat({
          title: 'Gateways that answer',
          shows: 'Gateways whose last scrape worked, and gateways whose last scrape failed.',
          normal: 'none is away.',
          alert: 'PortcullisDown',
          unit: 'none',
          steps: [[null, 'text']],
          queries: [
            { expr: `sum(up{${GATEWAY}})`, legend: 'answer' },
            { expr: `count(up{${GATEWAY}}) - sum(up{${GATEWAY}})`, legend: 'away' },
          ],
        }),
        stat({
          title: 'Requests that did not fail, last hour',
          shows:
            'Share of the requests that neither the gateway nor its stores failed, over the last hour. Faults of clients (4xx) and of upstreams count as good.',
          normal: '99.9 % or more.',
          alert: 'PortcullisAvailabilityBurnsFast',
          unit: 'percentunit',
          decimals: 3,
          width: 5,
          steps: [
            [null, 'red'],
            [0.99, 'orange'],
            [0.999, 'green'],
          ],
          queries: [{ expr: `1 - ${missed('availability', '1h')}`, legend: '{{job}}' }],
        }),
        stat({
          title: 'Requests that the gateway did not delay, last hour',
          shows:
            'Share of the proxied requests that the gateway sent to an upstream within 50 ms, over the last hour. The time of the upstream does not count.',
          normal: '99 % or more.',
          alert: 'PortcullisLatencyBurnsFast',
          unit: 'percentunit',
          decimals: 2,
          width: 5,
          steps: [
            [null, 'red'],
            [0.95, 'orange'],
            [0.99, 'green'],
          ],
          queries: [{ expr: `1 - ${missed('latency', '1h')}`, legend: '{{job}}' }],
        }),
        stat({
          title: 'Logins that did not fail, last hour',
          shows:
            'Share of the logins with right credentials that led to a session or to the second factor, over the last hour. Wrong passwords do not count.',
          normal: '99 % or more.',
          alert: 'PortcullisLoginBurnsFast',
          unit: 'percentunit',
          decimals: 2,
          width: 5,
          steps: [
            [null, 'red'],
            [0.95, 'orange'],
            [0.99, 'green'],
          ],
          queries: [{ expr: `1 - ${missed('login', '1h')}`, legend: '{{job}}' }],
        }),
        stat({
          title: 'Requests in flight',
          shows: 'Requests that have come in and are not answered yet.',
          normal: 'a few. It grows when an upstream becomes slow.',
          unit: 'none',
          width: 5,
          steps: [[null, 'text']],
          queries: [{ expr: `sum(portcullis_http_requests_in_flight{${GATEWAY}})`, legend: 'in flight' }],
        }),
        series({
          title: 'How fast is the error budget used up?',
          shows:
            'The errors of the last 5 minutes, as a multiple of what the objectives of 30 days allow. 1: the budget lasts exactly 30 days. 14: it lasts two days.',
          normal: 'below 1. An alert follows when a long and a short window are far above it.',
          alert: 'PortcullisAvailabilityBurnsFast',
          unit: 'none',
          width: 24,
          steps: [
            [null, 'green'],
            [1, 'orange'],
            [14.4, 'red'],
          ],
          queries: (['availability', 'latency', 'login'] as const).map((objective) => ({
            expr: burnRate(objective),
            legend: `{{job}} ${objective}`,
          })),
        }),
      ],
    },
    {
      title: 'What comes in, and what do clients get?',
      panels: [
        series({
          title: 'Requests by route',
          shows:
            'Requests per second that were answered. Routes that begin with `auth.` are endpoints of the gateway; `none` is a path without a route.',
          normal: 'the curve of your users. Requests for `none` in numbers are somebody who looks for open doors.',
          unit: 'reqps',
          isStacked: true,
          queries: [{ expr: `sum by (route) (rate(portcullis_http_requests_total{${ROUTE}}[$__rate_interval]))`, legend: '{{route}}' }],
        }),
        series({
          title: 'Answers by status',
          shows: 'Answers per second by the first digit of the status.',
          normal: 'no 5xx. Some 401 and 429 are always there.',
          alert: 'PortcullisUpstreamErrors',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (class) (label_replace(rate(portcullis_http_requests_total{${ROUTE}}[$__rate_interval]), "class", "$1", "status", "(.).."))`,
              legend: '{{class}}xx',
            },
          ],
        }),
        series({
          title: 'Which errors do clients get?',
          shows: 'Errors of the gateway per second, by code and route: the ten most frequent. docs/errors.md says what each code means.',
          normal: 'codes that clients cause: `token_missing`, `token_expired`, `route_not_found`, `rate_limited`.',
          alert: 'PortcullisInternalErrors',
          unit: 'reqps',
          queries: [
            {
              expr: `topk(10, sum by (code, route) (rate(portcullis_errors_total{${ROUTE}}[$__rate_interval])))`,
              legend: '{{code}} · {{route}}',
            },
          ],
        }),
      ],
    },
    {
      title: 'Where does the time go?',
      panels: [
        series({
          title: 'How long do requests take?',
          shows: 'Time from the request line to the end of the answer. Points are single requests with a trace.',
          normal: 'the gateway adds about a millisecond to the time of the upstream.',
          alert: 'PortcullisLatencyBurnsFast',
          unit: 's',
          hasExemplars: true,
          queries: [0.5, 0.95, 0.99].map((q) => ({ expr: quantile(q, 'http_request_duration_seconds'), legend: `p${q * 100}` })),
        }),
        series({
          title: 'Which route is slow?',
          shows: '95 % of the requests of a route are faster than this.',
          normal: 'each route has its own level. Compare with yesterday.',
          unit: 's',
          hasExemplars: true,
          queries: [{ expr: quantile(0.95, 'http_request_duration_seconds', 'route'), legend: '{{route}}' }],
        }),
        series({
          title: 'Which upstream is slow?',
          shows: "Time until the upstream's response ended, 95th percentile. An upstream is a route and the number of the server.",
          normal: 'each upstream has its own level. Both servers of one route are alike.',
          unit: 's',
          hasExemplars: true,
          queries: [{ expr: quantile(0.95, 'upstream_duration_seconds', 'upstream'), legend: '{{upstream}}' }],
        }),
        series({
          title: 'How long does the gateway itself need?',
          shows: 'Time in the gateway before the request was sent to the upstream.',
          normal: 'less than 1 ms for the half of the requests. A new token, a busy store or a full core makes it longer.',
          alert: 'PortcullisRequestsWait',
          unit: 's',
          width: 12,
          hasExemplars: true,
          queries: [0.5, 0.95, 0.99].map((q) => ({ expr: quantile(q, 'gateway_overhead_seconds'), legend: `p${q * 100}` })),
        }),
        series({
          title: 'Are tokens known already?',
          shows: 'Look-ups of access tokens in the cache. A miss costs a check of the signature.',
          normal: 'mostly hits.',
          unit: 'reqps',
          width: 12,
          queries: [{ expr: `sum by (result) (rate(portcullis_token_cache_total{${GATEWAY}}[$__rate_interval]))`, legend: '{{result}}' }],
        }),
      ],
    },
    {
      title: 'Which upstream fails?',
      panels: [
        states({
          title: 'State of each upstream',
          shows:
            'An upstream that fails several times in a row is left alone, and gets only trial requests. The worst state of all gateways counts.',
          normal: 'all used.',
          alert: 'PortcullisUpstreamLeftAlone',
          unit: 'none',
          values: { '0': ['used', 'green'], '1': ['trial', 'orange'], '2': ['left alone', 'red'] },
          queries: [{ expr: `max by (upstream) (portcullis_upstream_breaker_state{${GATEWAY}})`, legend: '{{upstream}}' }],
        }),
        states({
          title: 'Health checks of each upstream',
          shows: 'Only upstreams of routes with `health` are checked. The worst state of all gateways counts.',
          normal: 'all healthy.',
          alert: 'PortcullisUpstreamUnhealthy',
          unit: 'none',
          values: { '0': ['unhealthy', 'red'], '1': ['healthy', 'green'] },
          queries: [{ expr: `min by (upstream) (portcullis_upstream_healthy{${GATEWAY}})`, legend: '{{upstream}}' }],
        }),
        series({
          title: 'Requests that failed at an upstream',
          shows: 'Share of the requests of a route that got 502 or 504.',
          normal: '0.',
          alert: 'PortcullisUpstreamErrors',
          unit: 'percentunit',
          queries: [
            {
              expr: `sum by (route) (rate(portcullis_errors_total{${ROUTE},code=~"${UPSTREAM_FAILURES}"}[$__rate_interval])) / sum by (route) (rate(portcullis_http_requests_total{${ROUTE}}[$__rate_interval]))`,
              legend: '{{route}}',
            },
          ],
        }),
        series({
          title: 'Open streams',
          shows: 'WebSockets and event streams that are open.',
          normal: 'the number of users with an open page. All of them end when a gateway stops.',
          unit: 'none',
          queries: [{ expr: `sum by (kind) (portcullis_streams_open{${GATEWAY}})`, legend: '{{kind}}' }],
        }),
        series({
          title: 'Why did streams end?',
          shows: 'Streams that ended, per second, by reason.',
          normal: '`client` and `upstream`. Others are explained in docs/metrics.md.',
          unit: 'ops',
          queries: [
            { expr: `sum by (reason) (rate(portcullis_streams_closed_total{${GATEWAY}}[$__rate_interval]))`, legend: '{{reason}}' },
          ],
        }),
      ],
    },
    {
      title: 'Forward-auth: what were other proxies answered? (only with routes that have forwardAuth)',
      isCollapsed: true,
      panels: [
        series({
          title: 'Questions of other proxies',
          shows: 'Questions per second, by route and decision.',
          normal: 'refusals are people without a login.',
          unit: 'reqps',
          width: 24,
          queries: [
            {
              expr: `sum by (route, decision) (rate(portcullis_forward_auth_total{${ROUTE}}[$__rate_interval]))`,
              legend: '{{route}} · {{decision}}',
            },
          ],
        }),
      ],
    },
  ],
}
