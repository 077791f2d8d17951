import { expect, it } from 'vitest'
import { parseRedisUrl } from '../../../src/platform/redis/connect.ts'
import { causeOf, kindOf } from '../../../src/platform/redis/error-kinds.ts'

const answer = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' })
const system = (code: string, message = '') => Object.assign(new Error(message), { code })

it.each([
  ["OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:5.", 'oom'],
  [
    "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.",
    'oom',
  ],
  ['NOSCRIPT No matching script. Please use EVAL.', 'noscript'],
  ["NOPERM User g has no permissions to run the 'evalsha' command", 'noperm'],
  ["ERR ACL failure in script: User g has no permissions to run the 'hset' command", 'noperm'],
  ["ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:1.", 'noperm'],
  ['NOAUTH Authentication required.', 'auth'],
  ['WRONGPASS invalid username-password pair or user is disabled.', 'auth'],
  ['ERR invalid password', 'auth'],
  ['ERR AUTH <password> called without any password configured for the default user', 'auth'],
  ['LOADING Redis is loading the dataset in memory', 'loading'],
  ["READONLY You can't write against a read only replica.", 'readonly'],
  ['MOVED 3999 127.0.0.1:6381', 'moved'],
  ['CLUSTERDOWN The cluster is down', 'other'],
  ['MISCONF Redis is configured to save RDB snapshots', 'other'],
])('an answer %s is of the kind %s', (message, kind) => {
  expect(kindOf(answer(message))).toBe(kind)
})

it.each([
  [new Error('no answer within 50 ms: timed out'), 'timeout'],
  [new Error("Socket timeout. Expecting data, but didn't receive any in 2000ms."), 'timeout'],
  [system('ETIMEDOUT', 'connect ETIMEDOUT'), 'timeout'],
  [system('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:6379'), 'reset'],
  [system('ECONNREFUSED'), 'reset'],
  [system('ECONNRESET', 'read ECONNRESET'), 'reset'],
  [new Error('connection closed'), 'reset'],
  [Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError: answer('NOAUTH Authentication required.') }), 'auth'],
  [system('CERT_HAS_EXPIRED', 'certificate has expired'), 'other'],
  [undefined, 'other'],
])('%s is of the kind %s', (error, kind) => {
  expect(kindOf(error)).toBe(kind)
})

it('an error that says only that there is no connection has no kind of its own', () => {
  for (const message of [
    "Stream isn't writeable and enableOfflineQueue options is false",
    'Connection is closed.',
    'Reached the max retries per request limit (which is 0). Refer to "maxRetriesPerRequest" option for details.',
    'Redis connection is not ready',
  ])
    expect(kindOf(new Error(message))).toBeNull()
})

it('a cause holds neither the arguments of a command nor the password, in either form', () => {
  const { secrets, password } = parseRedisUrl('redis://user:p%40ss-w0rd@127.0.0.1:6379')
  expect([password, secrets]).toEqual(['p@ss-w0rd', ['p@ss-w0rd', 'p%40ss-w0rd']])
  const message = 'ERR unknown command `AUTH`, with args beginning with: `user`, `p@ss-w0rd`,'
  expect(causeOf(answer(message), secrets)).toBe('ERR unknown command `AUTH`')
  expect(causeOf(new Error('connect to p@ss-w0rd and p%40ss-w0rd'), secrets)).toBe('connect to *** and ***')
})

it('URLs of one Redis, of Sentinels and of a cluster', () => {
  expect(parseRedisUrl('redis://h:1/3')).toMatchObject({
    kind: 'single',
    hosts: [{ host: 'h', port: 1 }],
    password: undefined,
    secrets: [],
  })
  expect(parseRedisUrl('rediss+sentinel://:a%3Ab@h1,h2:5/main')).toMatchObject({
    kind: 'sentinel',
    hosts: [
      { host: 'h1', port: 26379 },
      { host: 'h2', port: 5 },
    ],
    hasTls: true,
    username: undefined,
    password: 'a:b',
    master: 'main',
  })
  expect(parseRedisUrl('redis+cluster://u:100%@h1:7000,h2')).toMatchObject({
    kind: 'cluster',
    hosts: [
      { host: 'h1', port: 7000 },
      { host: 'h2', port: 6379 },
    ],
    hasTls: false,
    username: 'u',
    password: '100%',
  })
})
