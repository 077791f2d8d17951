/** All metrics in one readable list. Labels are route and policy names, codes and outcomes: never a path, a user or an address. */
import {
  type Aggregator,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValueWithName,
  Registry,
} from 'prom-client'
import { type Exemplar, fastCounter, fastHistogram } from './fast-metrics.ts'

export interface Metrics extends ReturnType<typeof createMetrics> {}

/** The values of a metric, as processes send them to each other. */
export type MetricValues = MetricObjectWithValues<MetricValueWithName<string> & { exemplar?: Exemplar }>

/** A gauge whose value is read when Prometheus scrapes. */
interface Sampled {
  collectFrom(read: () => number): void
}
/** The same for several series of one label. */
interface SampledEach {
  collectFrom(read: () => Iterable<[label: string, value: number]>): void
}

const KNOWN_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
/** A method as a label. Unknown methods share one label, because clients may invent any number of them. */
export const methodLabel = (method: string): string => (KNOWN_METHODS.has(method) ? method : 'OTHER')

/** Gauges of prom-client with the suffix of a counter: `sum(nodejs_active_handles)` and the like say the same. */
const MISNAMED = ['nodejs_active_resources_total', 'nodejs_active_handles_total', 'nodejs_active_requests_total']

const LATENCY = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const WAITS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const OVERHEAD = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1]

export function createMetrics(version: string) {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  for (const name of MISNAMED) registry.removeSingleMetric(name)
  const registers = [registry]
  const prefix = 'portcullis_'
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name: prefix + name, help, labelNames, registers })
  // with several processes, counters are summed; gauges are summed unless another aggregator is given
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = [], aggregator: Aggregator = 'sum') =>
    new Gauge({ name: prefix + name, help, labelNames, registers, aggregator })
  const histogram = <L extends string>(name: string, help: string, labelNames: readonly L[], buckets = LATENCY) =>
    new Histogram({ name: prefix + name, help, labelNames, buckets, registers })
  /** For metrics that every request counts. */
  const fast = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    fastCounter(registry, { name: prefix + name, help, labelNames })
  const timing = <L extends string>(name: string, help: string, labelNames: readonly L[], buckets = LATENCY) =>
    fastHistogram(registry, { name: prefix + name, help, labelNames }, buckets)
  const sampled = (name: string, help: string, aggregator: Aggregator = 'sum'): Sampled => {
    let read = () => 0
    new Gauge({
      name: prefix + name,
      help,
      aggregator,
      registers,
      collect() {
        this.set(read())
      },
    })
    return {
      collectFrom: (source) => {
        read = source
      },
    }
  }

  const sampledEach = (name: string, help: string, label: string, aggregator: Aggregator): SampledEach => {
    let read = (): Iterable<[string, number]> => []
    new Gauge({
      name: prefix + name,
      help,
      aggregator,
      labelNames: [label],
      registers,
      collect() {
        // what is no longer there, after a reload, has no value
        this.reset()
        for (const [value, n] of read()) this.set({ [label]: value }, n)
      },
    })
    return {
      collectFrom: (source) => {
        read = source
      },
    }
  }

  const buildInfo = gauge('build_info', 'Always 1.', ['version', 'node'], 'first')
  buildInfo.set({ version, node: process.version }, 1)
  const refreshes = counter('refreshes_total', 'Refresh attempts.', ['outcome'])
  const logins = counter('logins_total', 'Login attempts, over the API or a page.', ['outcome', 'via'])
  // the series exist from the start: `increase()` does not see the step from no series to 1
  for (const outcome of [
    'rotated',
    'repeated',
    'unknown',
    'revoked',
    'superseded',
    'reused',
    'expired',
    'rate_limited',
    'identity_too_large',
  ])
    refreshes.inc({ outcome }, 0)
  for (const outcome of ['success', 'mfa_required', 'invalid_credentials', 'rate_limited', 'overloaded', 'unavailable', 'internal'])
    for (const via of ['api', 'page']) logins.inc({ outcome, via }, 0)

  const spansExported = counter('spans_exported_total', 'Spans that the collector of traces took.')
  const spansDropped = counter('spans_dropped_total', 'Spans that were not delivered: the queue was full, or the export failed.', [
    'reason',
  ])
  for (const reason of ['queue', 'export']) spansDropped.inc({ reason }, 0)
  const acmeOrders = counter('acme_orders_total', 'Orders of certificates, by outcome.', ['outcome'])
  for (const outcome of ['issued', 'refused', 'rate_limited', 'unreachable', 'unusable', 'failed']) acmeOrders.inc({ outcome }, 0)
  const acmeAnswers = counter('acme_challenge_answers_total', 'Answers to challenges of an ACME server.', ['challenge'])
  for (const challenge of ['http-01', 'tls-alpn-01']) acmeAnswers.inc({ challenge }, 0)

  return {
    registry,
    workers: sampled('workers', 'Processes that serve requests.'),
    workerExits: counter('worker_exits_total', 'Processes that ended and were replaced.'),
    workerWait: histogram(
      'worker_wait_seconds',
      'How long work waits before it runs: a new connection for a worker (accept), the event loop (loop), a core (cpu).',
      ['where'],
      WAITS,
    ),
    requests: fast('http_requests_total', 'Requests answered.', ['method', 'route', 'status']),
    requestSeconds: timing('http_request_duration_seconds', 'From the request line to the end of the response.', ['route', 'method']),
    overheadSeconds: timing(
      'gateway_overhead_seconds',
      'Time in the gateway before the request was sent to the upstream.',
      ['route'],
      OVERHEAD,
    ),
    upstreamSeconds: timing('upstream_duration_seconds', "Time until the upstream's response ended.", ['upstream']),
    upstreamBreakerState: sampledEach(
      'upstream_breaker_state',
      '0 closed, 1 half-open, 2 open; with several processes, the highest.',
      'upstream',
      'max',
    ),
    upstreamHealthy: sampledEach(
      'upstream_healthy',
      '1 while the upstream passes its health checks; with several processes, the lowest.',
      'upstream',
      'min',
    ),
    upstreamHealthChecks: counter('upstream_health_checks_total', 'Health checks of upstreams: passed or failed.', ['upstream', 'outcome']),
    upstreamRetries: counter('upstream_retries_total', 'Requests sent again, on a fresh connection or to another upstream.', ['upstream']),
    compressedResponses: counter('compressed_responses_total', 'Responses that the gateway compressed.', ['route', 'coding']),
    compressing: sampled('responses_compressing', 'Responses that the gateway is compressing.'),
    verifications: fast('forward_auth_total', 'Questions of other proxies, by route and decision: allowed or refused.', [
      'route',
      'decision',
    ]),
    inFlight: sampled('http_requests_in_flight', 'Requests in flight.'),
    errors: counter('errors_total', 'Answers by error code.', ['code', 'route']),
    /** The numerator of the objective of availability: see isOwnFailure in observe.ts. */
    ownFailures: fast(
      'gateway_failures_total',
      'Answers 500 and 503 for which the gateway or its stores are the reason, and no upstream.',
      ['route'],
    ),
    logins,
    newCountryLogins: counter('new_country_logins_total', 'Logins from a country that is new for the account.', ['outcome']),
    providerLogins: counter('provider_logins_total', 'Sign-ins with a provider that came back.', ['provider', 'outcome']),
    issuerKeyReads: counter('issuer_key_reads_total', 'Reads of the key sets of other issuers.', ['issuer', 'outcome']),
    issuerKeysAge: sampledEach(
      'issuer_keys_age_seconds',
      'Time since the key set of another issuer was read; with several processes, the longest.',
      'issuer',
      'max',
    ),
    registrations: counter('registrations_total', 'Registrations.', ['outcome']),
    refreshes,
    /** By event and outcome, with the names of the audit log. */
    accountEvents: counter('account_events_total', 'Actions of users, operators and machines on accounts, by outcome.', [
      'event',
      'outcome',
    ]),
    mfa: counter('mfa_total', 'Second factors presented.', ['type', 'outcome']),
    proofOfWork: counter('proof_of_work_total', 'Challenges issued, and solutions judged, by action.', ['action', 'outcome']),
    breachChecks: counter('breach_checks_total', 'Passwords looked up among breached passwords.', ['outcome']),
    mails: counter('mails_total', 'Mails handed to the mail server.', ['template', 'outcome']),
    outboxWaiting: gauge('outbox_waiting', 'Mails that wait to be sent.', [], 'max'),
    auditUnsealed: gauge('audit_unsealed_rows', 'Audit rows that are not in a sealed batch yet.', [], 'max'),
    auditLastSealed: gauge('audit_last_sealed_timestamp_seconds', 'When the audit log was last sealed.', [], 'max'),
    cookieCache: fast('browser_sessions_cache_total', 'Look-ups in the cache of session cookies.', ['result']),
    apiKeyCache: fast('api_key_cache_total', 'Look-ups in the cache of API keys.', ['result']),
    limitDecisions: fast('limit_decisions_total', 'Decisions of rate limits.', ['policy', 'decision', 'tier']),
    tokenCache: fast('token_cache_total', 'Look-ups in the token cache.', ['result']),
    argon2InFlight: sampled('argon2_in_flight', 'Password hashes being computed.'),
    argon2Queued: sampled('argon2_queued', 'Requests that wait for a password hash.'),
    argon2Rejected: counter('argon2_rejected_total', 'Requests refused because the queue was full.'),
    dbQuerySeconds: histogram('db_query_duration_seconds', 'Duration of SQL statements.', ['operation']),
    dbPool: gauge('db_pool_connections', 'Connections to Postgres.', ['state']),
    dbBreakerOpen: sampled('db_breaker_open', '1 while the database is not called, because it does not answer.', 'max'),
    replicaLag: sampled('db_replica_lag_seconds', 'How far the read replica is behind; 0 without a read replica.', 'max'),
    clockSkew: sampled('clock_skew_seconds', 'Clock of this machine minus clock of the database.', 'first'),
    dbUp: sampled('db_up', '1 while the database answers.', 'min'),
    redisUp: sampled('redis_up', '1 while Redis answers, or none is configured.', 'min'),
    redisBreakerOpen: sampled('redis_breaker_open', '1 while Redis is not called after a failure.', 'max'),
    redisErrors: counter('redis_errors_total', 'Failed calls of Redis, by kind of failure.', ['kind']),
    revocationLag: sampled('revocation_lag_seconds', 'Time since revocations were last read from the database.', 'max'),
    revokedEntries: sampled('revoked_entries', 'Sessions and users in the revocation map.', 'max'),
    refreshTokenRows: gauge('refresh_tokens_rows', 'Rows after the last cleanup.', [], 'max'),
    cleanupLastSuccess: gauge('cleanup_last_success_timestamp_seconds', 'When every step of the cleanup last succeeded.', [], 'max'),
    cleanupFailures: counter('cleanup_failures_total', 'Steps of the cleanup that failed.', ['kind']),
    cleanupDeleted: counter('cleanup_deleted_total', 'Rows that cleanup removed.', ['kind']),
    streamsOpen: gauge('streams_open', 'Open WebSocket and event streams.', ['kind']),
    streamsClosed: counter(
      'streams_closed_total',
      'Streams that ended, by reason; reloaded: a new configuration changed their route or roles.',
      ['reason'],
    ),
    shed: counter('shed_total', 'Requests refused because this process is busy, by reason.', ['reason']),
    logLinesDropped: counter('log_lines_dropped_total', 'Log lines that could not be written.'),
    spansExported,
    spansDropped,
    connectionsRefused: counter('connections_refused_total', 'Client connections above maxConnections.'),
    tlsNotAfter: sampled(
      'tls_certificate_expiry_timestamp_seconds',
      'When the certificate of the listener expires; 0 without a certificate.',
      'min',
    ),
    acmeOrders,
    acmeAnswers,
    acmeLastSuccess: gauge(
      'acme_last_success_timestamp_seconds',
      'When an ACME server last issued the certificate of the listener; 0: not yet.',
      [],
      'max',
    ),
    acmeRenewalDue: gauge(
      'acme_renewal_due_timestamp_seconds',
      'When the certificate is to be renewed, or since when the first one is wanted; 0 without ACME.',
      [],
      'max',
    ),
    signingKeyAge: gauge('signing_key_age_seconds', 'Age of signing keys.', ['kid', 'state'], 'max'),
    configInfo: gauge('config_info', 'Always 1; sha of the configuration in force.', ['sha'], 'first'),
    configReloadTime: gauge('config_last_reload_timestamp_seconds', 'When a configuration was last put in force.', [], 'min'),
    dataFileSuccess: gauge(
      'data_file_last_reload_success',
      '1 when the files of networks, or of countries, were usable when they were last read.',
      ['kind'],
      'min',
    ),
    geoDatabaseTime: gauge('geo_database_build_timestamp_seconds', 'When the database of countries in use was made.', [], 'min'),
    configReloadSuccess: gauge('config_last_reload_success', '1 when the last load of the configuration succeeded.', [], 'min'),
  }
}
