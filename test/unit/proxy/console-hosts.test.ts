import { expect, it } from 'vitest'
import { consoleHostsOf } from '../../../src/proxy/routing/console-hosts.ts'
import { configWith } from '../../support/config.ts'

it('names are in the form in which a request shows its host', () => {
  const config = configWith({
    admin: { host: 'fd00::5' },
    server: { publicUrl: 'https://API.example.com:8443' },
    auth: { browser: { enabled: true, consoleHosts: ['console.example.com', '[fd00::6]'] } },
  })
  expect([...consoleHostsOf(config)]).toEqual(['[fd00::5]', 'api.example.com', 'console.example.com', '[fd00::6]'])
})
