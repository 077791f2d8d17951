/** How important a request is while the process is busy. */
import { expect, test } from 'vitest'
import { createClassify, createIsLogin } from '../../../../src/app/overload/priority.ts'

const classify = createClassify(createIsLogin('/auth'), ({ authorization }) => authorization === 'Bearer known')
const known = { authorization: 'Bearer known' }

test.each([
  '/auth/login',
  '/auth/login/mfa',
  '/auth/login/confirm',
  '/auth/login/email',
  '/auth/login/email/verify',
  '/auth/refresh',
  '/auth/reauthenticate',
  '/auth/token',
  '/auth/ui/login?return_to=%2Forders',
  '/auth/ui/factor?backup=1',
  '/auth/ui/confirm-login',
  '/auth/ui/login/email?step=2',
  '/auth/ui/email-login',
])('every step of a login is a login: %s', (url) => {
  expect([classify(url, {}), classify(url, known)]).toEqual(['login', 'login'])
})

test.each([
  '/login',
  '/auth/logins',
  '/auth/login/',
  '/auth/register',
  '/auth/ui/account',
  '/orders?to=/auth/login',
])('any other request counts by its credential: %s', (url) => {
  expect([classify(url, {}), classify(url, known)]).toEqual(['other', 'known'])
})

test('only the health of the gateway is health', () => {
  expect(['/health', '/health?x=1', '/health/', '/auth/health'].map((url) => classify(url, {}))).toEqual([
    'health',
    'health',
    'other',
    'other',
  ])
})
