import { COMMON_VARIABLES, type Dashboard, series, stat, states } from './panels.ts'

const GATEWAY = 'job=~"$job",instance=~"$instance"'
const gauge = (name: string) => `portcullis_${name}{${GATEWAY}}`
const rate = (metric: string, by: string, more = '') => `sum by (${by}) (rate(portcullis_${metric}{${GATEWAY}${more}}[$__rate_interval]))`
/** Seconds since the instant that a gauge holds; 0 means: never. */
const age = (name: string) => `time() - max(portcullis_${name}{${GATEWAY}} > 0)`

export const stores: Dashboard = {
  uid: 'portcullis-stores',
  title: 'Portcullis: stores, workers, limits',
  description: 'Whether Postgres and Redis answer, what limits decide, whether the processes have room, and whether the housekeeping runs.',
  variables: COMMON_VARIABLES,
  rows: [
    {
      title: 'Which part is away?',
      panels: [
        states({
          title: 'Postgres, as each gateway sees it',
          shows: 'Whether the database answers. Without it, requests with a valid token still pass; logins and refreshes get 503.',
          normal: 'up.',
          alert: 'PortcullisDatabaseAway',
          unit: 'none',
          values: { '0': ['away', 'red'], '1': ['up', 'green'] },
          queries: [{ expr: `min by (instance) (${gauge('db_up')})`, legend: '{{instance}}' }],
        }),
        states({
          title: 'Redis, as each gateway sees it',
          shows: 'Whether Redis answers. Without it, routes follow their `onRedisDown`, and limits of credentials count in Postgres.',
          normal: 'up.',
          alert: 'PortcullisRedisAway',
          unit: 'none',
          values: { '0': ['away', 'red'], '1': ['up', 'green'] },
          queries: [{ expr: `min by (instance) (${gauge('redis_up')})`, legend: '{{instance}}' }],
        }),
      ],
    },
    {
      title: 'Postgres',
      panels: [
        series({
          title: 'Which statements are slow?',
          shows: '95 % of the statements of a kind are faster than this: the ten slowest kinds.',
          normal: 'a few milliseconds.',
          alert: 'PortcullisDatabaseAway',
          unit: 's',
          queries: [
            {
              expr: `topk(10, histogram_quantile(0.95, sum by (operation, le) (rate(portcullis_db_query_duration_seconds_bucket{${GATEWAY}}[$__rate_interval]))) > 0)`,
              legend: '{{operation}}',
            },
          ],
        }),
        series({
          title: 'How many statements?',
          shows: 'Statements per second: the ten most frequent kinds.',
          normal: 'it follows logins and refreshes, not requests: a request with a known token needs no statement.',
          unit: 'ops',
          queries: [{ expr: `topk(10, ${rate('db_query_duration_seconds_count', 'operation')})`, legend: '{{operation}}' }],
        }),
        series({
          title: 'Are there enough connections?',
          shows: 'Connections to Postgres by state, and calls that wait for one.',
          normal: 'nothing waits. Otherwise statements are slow, or `database.poolSize` is too small.',
          unit: 'none',
          isStacked: true,
          queries: [{ expr: `sum by (state) (${gauge('db_pool_connections')})`, legend: '{{state}}' }],
        }),
      ],
    },
    {
      title: 'Redis and limits',
      panels: [
        series({
          title: 'What do limits decide?',
          shows: 'Decisions per second, by policy: allowed and limited.',
          normal: 'mostly allowed.',
          unit: 'ops',
          queries: [{ expr: `${rate('limit_decisions_total', 'policy, decision')} > 0`, legend: '{{policy}} · {{decision}}' }],
        }),
        series({
          title: 'Where are limits counted?',
          shows: 'Decisions per second by place: `redis`, this process (`local`), `database`, or nowhere (`open`, `closed`).',
          normal: '`redis`, and `database` for second factors. Anything else means that Redis was away.',
          alert: 'PortcullisRedisAway',
          unit: 'ops',
          isStacked: true,
          queries: [{ expr: rate('limit_decisions_total', 'tier'), legend: '{{tier}}' }],
        }),
        series({
          title: 'Why do calls of Redis fail?',
          shows: 'Failed calls per second, by kind.',
          normal: '0. `oom`: it is full. `auth`, `noperm`: its password or its rights. `timeout`, `reset`: the network, or a restart.',
          alert: 'PortcullisRedisAway',
          unit: 'ops',
          queries: [{ expr: rate('redis_errors_total', 'kind'), legend: '{{kind}}' }],
        }),
      ],
    },
    {
      title: 'Do the processes have room?',
      panels: [
        series({
          title: 'Where do requests wait?',
          shows: 'For a core (`cpu`), for the event loop (`loop`), or to be taken by a worker (`accept`): 99th percentile.',
          normal: 'below 10 ms. "Where requests wait" in docs/operations.md says what to do.',
          alert: 'PortcullisRequestsWait',
          unit: 's',
          queries: [
            {
              expr: `histogram_quantile(0.99, sum by (where, le) (rate(portcullis_worker_wait_seconds_bucket{${GATEWAY}}[$__rate_interval])))`,
              legend: '{{where}}',
            },
          ],
        }),
        series({
          title: 'Cores in use',
          shows: 'CPU time per second of all processes of a gateway: 2 means two full cores.',
          normal: 'below the number of its cores.',
          alert: 'PortcullisOverloaded',
          unit: 'none',
          queries: [{ expr: `sum by (instance) (rate(process_cpu_seconds_total{${GATEWAY}}[$__rate_interval]))`, legend: '{{instance}}' }],
        }),
        series({
          title: 'Memory',
          shows: 'Resident memory of all processes of a gateway.',
          normal: 'about 100 to 250 MB for each worker, and flat over days.',
          unit: 'bytes',
          queries: [{ expr: `sum by (instance) (process_resident_memory_bytes{${GATEWAY}})`, legend: '{{instance}}' }],
        }),
        series({
          title: 'Workers',
          shows: 'Processes that serve requests, and processes that ended and were replaced.',
          normal: 'as many as `server.workers`, and no exits.',
          alert: 'PortcullisWorkerExits',
          unit: 'none',
          queries: [
            { expr: `sum by (instance) (${gauge('workers')})`, legend: '{{instance}}' },
            { expr: `sum by (instance) (increase(${gauge('worker_exits_total')}[$__rate_interval]))`, legend: '{{instance}} exits' },
          ],
        }),
        series({
          title: 'Open files and sockets',
          shows: 'Share of the descriptors that a gateway may open.',
          normal: 'below 50 %. At 100 % no connection is accepted.',
          unit: 'percentunit',
          queries: [
            {
              expr: `sum by (instance) (process_open_fds{${GATEWAY}}) / sum by (instance) (process_max_fds{${GATEWAY}})`,
              legend: '{{instance}}',
            },
          ],
        }),
        series({
          title: 'What is turned away, or lost?',
          shows:
            'Connections above `server.maxConnections`, requests that were refused because a process was busy, and log lines that could not be written, per second.',
          normal: '0.',
          alert: 'PortcullisOverloaded',
          unit: 'ops',
          queries: [
            { expr: `sum(rate(${gauge('connections_refused_total')}[$__rate_interval]))`, legend: 'connections refused' },
            { expr: `sum(rate(${gauge('shed_total')}[$__rate_interval])) or vector(0)`, legend: 'requests refused' },
            { expr: `sum(rate(${gauge('log_lines_dropped_total')}[$__rate_interval]))`, legend: 'log lines lost' },
          ],
        }),
      ],
    },
    {
      title: 'Is the house in order?',
      panels: [
        stat({
          title: 'Since the last cleanup',
          shows: 'Time since every step of the cleanup last succeeded. One gateway cleans up for all.',
          normal: 'below `auth.cleanup.intervalSeconds`, which is 6 hours.',
          alert: 'PortcullisCleanupOverdue',
          unit: 's',
          steps: [
            [null, 'green'],
            [86_400, 'red'],
          ],
          queries: [{ expr: age('cleanup_last_success_timestamp_seconds'), legend: 'cleanup' }],
        }),
        stat({
          title: 'Since the audit log was sealed',
          shows: 'Time since the last batch of the audit log was sealed. Rows that are not sealed can be changed unnoticed.',
          normal: 'about a minute while there are rows.',
          alert: 'PortcullisAuditNotSealed',
          unit: 's',
          steps: [
            [null, 'green'],
            [900, 'red'],
          ],
          queries: [{ expr: age('audit_last_sealed_timestamp_seconds'), legend: 'sealed' }],
        }),
        stat({
          title: 'Configuration',
          shows: 'Whether every gateway could load its configuration when it last tried, and how many configurations are in force.',
          normal: '1 and 1. After a failed reload, the former configuration stays in force; the log names the mistake.',
          alert: 'PortcullisConfigRefused',
          unit: 'none',
          steps: [[null, 'text']],
          queries: [
            { expr: `min(${gauge('config_last_reload_success')})`, legend: 'loaded' },
            { expr: `count(count by (sha) (${gauge('config_info')}))`, legend: 'configurations' },
          ],
        }),
        stat({
          title: 'Versions',
          shows: 'Gateways by version.',
          normal: 'one version. Two during an upgrade.',
          unit: 'none',
          steps: [[null, 'text']],
          queries: [{ expr: `count by (version) (${gauge('build_info')})`, legend: '{{version}}' }],
        }),
        stat({
          title: 'Clock beside the database',
          shows: 'The largest difference between the clock of a gateway and the clock of the database.',
          normal: 'below a second.',
          alert: 'PortcullisClockSkew',
          unit: 's',
          decimals: 2,
          steps: [
            [null, 'green'],
            [60, 'red'],
          ],
          queries: [{ expr: `max(abs(${gauge('clock_skew_seconds')}))`, legend: 'skew' }],
        }),
        stat({
          title: 'Age of the signing key',
          shows: 'Age of the key that signs access tokens.',
          normal: 'as you rotate it: `portcullis keys rotate`.',
          unit: 's',
          steps: [[null, 'text']],
          queries: [{ expr: `max(portcullis_signing_key_age_seconds{${GATEWAY},state="current"})`, legend: 'key' }],
        }),
        series({
          title: 'Rows that grow',
          shows: 'Refresh tokens after the last cleanup, audit rows that are not sealed yet, and mails that wait.',
          normal: 'flat over weeks; unsealed rows go to 0 each minute.',
          alert: 'PortcullisAuditNotSealed',
          unit: 'none',
          width: 12,
          queries: [
            { expr: `max(${gauge('refresh_tokens_rows')})`, legend: 'refresh tokens' },
            { expr: `max(${gauge('audit_unsealed_rows')})`, legend: 'unsealed audit rows' },
            { expr: `max(${gauge('outbox_waiting')})`, legend: 'mails' },
          ],
        }),
        series({
          title: 'How far is the read replica behind?',
          shows: 'Delay of `database.readUrl`, in seconds.',
          normal: 'below a second; 0 without a read replica.',
          alert: 'PortcullisReplicaBehind',
          unit: 's',
          width: 12,
          queries: [{ expr: `max by (instance) (${gauge('db_replica_lag_seconds')})`, legend: '{{instance}}' }],
        }),
      ],
    },
  ],
}
