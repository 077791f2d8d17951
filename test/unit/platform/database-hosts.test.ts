import { expect, it } from 'vitest'
import { hostsOf, problemOfUrl } from '../../../src/platform/db/hosts.ts'

it.each([
  ['postgres://db/app', ['postgres://db/app']],
  [
    'postgres://u:p@h1:5432,h2:5433/app?sslmode=disable',
    ['postgres://u:p@h1:5432/app?sslmode=disable', 'postgres://u:p@h2:5433/app?sslmode=disable'],
  ],
  ['postgresql://u@h1,h2:6000/app', ['postgresql://u@h1/app', 'postgresql://u@h2:6000/app']],
  ['postgres://u:p,q@h1,h2/app', ['postgres://u:p,q@h1/app', 'postgres://u:p,q@h2/app']],
  ['postgres://u:p@q@h1,h2/app', ['postgres://u:p@q@h1/app', 'postgres://u:p@q@h2/app']],
  ['postgres://[::1]:5432,[fe80::1]/app', ['postgres://[::1]:5432/app', 'postgres://[fe80::1]/app']],
  ['postgres:///app?host=h1,h2&port=5432,5433', ['postgres:///app?host=h1&port=5432', 'postgres:///app?host=h2&port=5433']],
  ['postgres://u@/app?host=h1,h2&port=6432', ['postgres://u@/app?host=h1&port=6432', 'postgres://u@/app?host=h2&port=6432']],
  ['postgres:///app?user=u&host=%2Frun%2Fpg,h2', ['postgres:///app?user=u&host=%2Frun%2Fpg', 'postgres:///app?user=u&host=h2']],
  ['postgres://h1,h2/app?port=6000,6001', ['postgres://h1/app?port=6000', 'postgres://h2/app?port=6001']],
])('%s has a URL for each host', (url, urls) => {
  expect(hostsOf(url)).toEqual(urls)
  expect(problemOfUrl(url)).toBeNull()
})

it.each([
  ['postgres:///app?host=h1,h2&port=1,2,3', '2 hosts and 3 ports: name one port, or one for each host'],
  ['postgres://h1,h2/app?port=1,2,3', '2 hosts and 3 ports: name one port, or one for each host'],
  ['postgres://h1,,h2/app', 'a host is empty'],
  ['postgres:///app?host=h1,', 'a host is empty'],
  ['postgres://gate:s3cr3t@h1:x,h2/app', 'is not an address of Postgres'],
  ['postgres://h1,h2/app?host=%zz', 'is not an address of Postgres'],
])('%s is refused without a part of it in the message', (url, problem) => {
  expect(problemOfUrl(url)).toBe(problem)
})
