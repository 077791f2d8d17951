import { COMMON_VARIABLES, type Dashboard, series, stat } from './panels.ts'

const GATEWAY = 'job=~"$job",instance=~"$instance"'
const rate = (metric: string, by: string, more = '') => `sum by (${by}) (rate(portcullis_${metric}{${GATEWAY}${more}}[$__rate_interval]))`
/** How often something happened in the time range of the dashboard. */
const count = (metric: string, more = '') => `round(sum(increase(portcullis_${metric}{${GATEWAY}${more}}[$__range])))`

export const accounts: Dashboard = {
  uid: 'portcullis-accounts',
  title: 'Portcullis: accounts and attacks',
  description: 'Whether people can log in, whether somebody guesses or steals credentials, and what happens to accounts.',
  variables: COMMON_VARIABLES,
  rows: [
    {
      title: 'Can people log in?',
      panels: [
        stat({
          title: 'Logins that worked',
          shows: 'Logins that ended with a session, in the time range.',
          normal: 'the number of your users who came.',
          unit: 'none',
          steps: [[null, 'text']],
          queries: [{ expr: count('logins_total', ',outcome="success"'), legend: 'logins' }],
        }),
        stat({
          title: 'Logins that we could not judge',
          shows: 'Logins that were refused because a store was away or the queue of password hashes was full, in the time range.',
          normal: '0.',
          alert: 'PortcullisLoginBurnsFast',
          unit: 'none',
          steps: [
            [null, 'green'],
            [1, 'red'],
          ],
          queries: [{ expr: count('logins_total', ',outcome=~"overloaded|unavailable"'), legend: 'logins' }],
        }),
        stat({
          title: 'Wrong passwords',
          shows: 'Share of the login attempts with a wrong password or an unknown name, in the time range.',
          normal: 'below 30 %: people mistype.',
          unit: 'percentunit',
          decimals: 0,
          steps: [
            [null, 'green'],
            [0.3, 'orange'],
            [0.7, 'red'],
          ],
          queries: [
            {
              expr: `sum(increase(portcullis_logins_total{${GATEWAY},outcome="invalid_credentials"}[$__range])) / sum(increase(portcullis_logins_total{${GATEWAY}}[$__range]))`,
              legend: 'wrong',
            },
          ],
        }),
        stat({
          title: 'Reused refresh tokens',
          shows:
            'Refresh tokens that were used a second time, in the time range. Each was stolen, or a client keeps old tokens. Its session was ended.',
          normal: '0.',
          alert: 'PortcullisRefreshTokenReused',
          unit: 'none',
          steps: [
            [null, 'green'],
            [1, 'red'],
          ],
          queries: [{ expr: count('refreshes_total', ',outcome="reused"'), legend: 'tokens' }],
        }),
        stat({
          title: 'New accounts',
          shows: 'Registrations that worked, in the time range.',
          normal: 'your usual number. Very many at once are a robot.',
          unit: 'none',
          steps: [[null, 'text']],
          queries: [{ expr: count('registrations_total', ',outcome="success"'), legend: 'accounts' }],
        }),
        stat({
          title: 'Mails that wait',
          shows: 'Mails that are written and not sent yet.',
          normal: 'near 0. People wait for their codes and links.',
          alert: 'PortcullisMailsWait',
          unit: 'none',
          steps: [
            [null, 'green'],
            [20, 'red'],
          ],
          queries: [{ expr: `max(portcullis_outbox_waiting{${GATEWAY}})`, legend: 'mails' }],
        }),
        series({
          title: 'Logins by outcome',
          shows: 'Login attempts per second, over the API and over pages.',
          normal: '`success` is on top.',
          alert: 'PortcullisLoginBurnsFast',
          unit: 'ops',
          queries: [{ expr: rate('logins_total', 'outcome'), legend: '{{outcome}}' }],
        }),
        series({
          title: 'Refreshes by outcome',
          shows: 'Attempts per second to exchange a refresh token.',
          normal: 'almost only `rotated`. `unknown` and `revoked` are old clients; `reused` is a theft until you know better.',
          alert: 'PortcullisRefreshTokenReused',
          unit: 'ops',
          queries: [{ expr: rate('refreshes_total', 'outcome'), legend: '{{outcome}}' }],
        }),
        series({
          title: 'Second factors by outcome',
          shows: 'Codes and keys that were shown, per second.',
          normal: '`success`. Many `invalid_code` after right passwords: somebody knows passwords, and lacks the phone.',
          unit: 'ops',
          queries: [{ expr: rate('mfa_total', 'type, outcome'), legend: '{{type}} · {{outcome}}' }],
        }),
      ],
    },
    {
      title: 'Is there an attack?',
      panels: [
        series({
          title: 'Which limits refuse?',
          shows: 'Refusals of rate limits per second. `login`, `account` and `address` slow down guessing.',
          normal: 'few. `account`: many addresses try one account. `address`: one address tries many accounts.',
          unit: 'ops',
          queries: [{ expr: rate('limit_decisions_total', 'policy', ',decision="limited"'), legend: '{{policy}}' }],
        }),
        series({
          title: 'Which credentials are refused?',
          shows: 'Answers 401 and 403 per second, by code.',
          normal: '`token_missing` and `token_expired`. Many `token_invalid` are forged or foreign tokens.',
          unit: 'reqps',
          queries: [
            {
              expr: rate(
                'errors_total',
                'code',
                ',code=~"token_.*|refresh_.*|invalid_.*|forbidden|insufficient_scope|mfa_required|origin_untrusted|country_refused"',
              ),
              legend: '{{code}}',
            },
          ],
        }),
        series({
          title: 'Are requests refused for want of a route?',
          shows: 'Answers 404 and 405 of the gateway, and malformed requests, per second.',
          normal: 'few. Scanners cause hundreds.',
          unit: 'reqps',
          queries: [
            {
              expr: rate(
                'errors_total',
                'code',
                ',code=~"route_not_found|method_not_allowed|target_ambiguous|header_invalid|json_invalid|validation_failed"',
              ),
              legend: '{{code}}',
            },
          ],
        }),
        series({
          title: 'Are password hashes keeping up?',
          shows:
            'Password hashes that are computed, requests that wait for one, and requests that were refused because the queue was full.',
          normal: 'nothing waits. A storm of logins fills the queue.',
          alert: 'PortcullisPasswordQueueFull',
          unit: 'none',
          queries: [
            { expr: `sum(portcullis_argon2_in_flight{${GATEWAY}})`, legend: 'computed' },
            { expr: `sum(portcullis_argon2_queued{${GATEWAY}})`, legend: 'wait' },
            { expr: `sum(increase(portcullis_argon2_rejected_total{${GATEWAY}}[$__rate_interval]))`, legend: 'refused' },
          ],
        }),
        series({
          title: 'Revoked sessions and users',
          shows: 'Entries in the list of revocations, which every gateway reads.',
          normal: 'the logouts of the last minutes. A jump: somebody ends sessions, or a key was revoked.',
          unit: 'none',
          queries: [{ expr: `max(portcullis_revoked_entries{${GATEWAY}})`, legend: 'entries' }],
        }),
        series({
          title: 'How old is what gateways know of revocations?',
          shows:
            'Time since a gateway last read the revocations from the database. A token that was revoked since then may still pass there.',
          normal: 'below 3 seconds.',
          alert: 'PortcullisRevocationsStale',
          unit: 's',
          queries: [{ expr: `max by (instance) (portcullis_revocation_lag_seconds{${GATEWAY}})`, legend: '{{instance}}' }],
        }),
      ],
    },
    {
      title: 'What happens to accounts?',
      panels: [
        series({
          title: 'Events of accounts',
          shows: 'Actions of users, operators and machines per second, with the names of the audit log: the ten most frequent.',
          normal: '`logout` and the like. Changes of roles, factors and keys are rare; `portcullis audit export` says who did them.',
          unit: 'ops',
          queries: [{ expr: `topk(10, ${rate('account_events_total', 'event, outcome')})`, legend: '{{event}} · {{outcome}}' }],
        }),
        series({
          title: 'Registrations by outcome',
          shows: 'Registrations per second.',
          normal: 'your usual curve. A robot shows as a straight line.',
          unit: 'ops',
          queries: [{ expr: rate('registrations_total', 'outcome'), legend: '{{outcome}}' }],
        }),
        series({
          title: 'Mails by outcome',
          shows: 'Mails that were handed to the mail server, per second.',
          normal: '`sent`.',
          alert: 'PortcullisMailsWait',
          unit: 'ops',
          queries: [{ expr: rate('mails_total', 'template, outcome'), legend: '{{template}} · {{outcome}}' }],
        }),
      ],
    },
  ],
}
