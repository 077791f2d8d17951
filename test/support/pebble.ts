/** An ACME server for tests: pebble, whose names all lead to 127.0.0.1. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, fetch as undiciFetch } from 'undici'
import type { Authority } from './certificates.ts'
import { freePort, type Running, start, TOOL_PATH, until } from './processes.ts'
import type { Tool } from './tools.ts'

export const PEBBLE: Tool = { program: 'pebble', remedy: 'Install the Debian package pebble.' }

/** Pebble refuses it. */
export const BLOCKED_DOMAIN = 'blocked.example.com'

export interface Pebble {
  directoryUrl: string
  /** PEM file of the CA of its own address, for `server.tls.acme.ca`. */
  ca: string
  /** PEM of the root of the certificates that it issues. */
  root(): Promise<string>
  /** What it has logged. */
  output(): string
  /** Ends it. With `restart` it comes back at the same address, and has forgotten accounts and orders. */
  stop(): Promise<void>
  restart(): Promise<void>
  close(): Promise<void>
}

export interface PebbleOptions {
  authority: Authority
  /** Where it asks for http-01 and for tls-alpn-01. */
  httpPort: number
  tlsPort: number
  /** Lifetime of certificates. Default: 90 days. */
  lifetimeSeconds?: number
  /** kid → HMAC key, and none is served without. */
  bindings?: Record<string, string>
}

export async function startPebble({ authority, httpPort, tlsPort, lifetimeSeconds, bindings }: PebbleOptions): Promise<Pebble> {
  const dir = mkdtempSync(join(tmpdir(), 'portcullis-pebble-'))
  const [port, managementPort, dnsPort, controlPort] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const own = await authority.issue(['localhost'])
  const file = join(dir, 'pebble.json')
  const config = {
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${managementPort}`,
      certificate: own.certFile,
      privateKey: own.keyFile,
      httpPort,
      tlsPort,
      domainBlocklist: [BLOCKED_DOMAIN],
      externalAccountBindingRequired: bindings !== undefined,
      externalAccountMACKeys: bindings ?? {},
      ...(lifetimeSeconds !== undefined && { certificateValidityPeriod: lifetimeSeconds }),
    },
  }
  writeFileSync(file, JSON.stringify(config))
  // the servers that only answer questions about names
  const none = ['-http01', '', '-https01', '', '-tlsalpn01', '']
  const names = start(
    'pebble-challtestsrv',
    ['-defaultIPv6', '', '-defaultIPv4', '127.0.0.1', '-dns01', `127.0.0.1:${dnsPort}`, '-management', `127.0.0.1:${controlPort}`, ...none],
    { env: { PATH: TOOL_PATH } },
  )
  const dispatcher = new Agent({ connect: { ca: authority.cert } })
  const ask = async (url: string) => (await undiciFetch(url, { dispatcher })).text()
  const directoryUrl = `https://127.0.0.1:${port}/dir`
  let server: Running

  async function run(): Promise<void> {
    server = start('pebble', ['-config', file, '-dnsserver', `127.0.0.1:${dnsPort}`, '-strict'], {
      env: { PATH: TOOL_PATH, PEBBLE_VA_NOSLEEP: '1' },
    })
    await until(() => ask(directoryUrl).then(() => true), 'pebble', 15_000).catch((error) => {
      throw new Error(`${error.message}\n${server.output()}\n${names.output()}`)
    })
  }
  await run()
  return {
    directoryUrl,
    ca: authority.certFile,
    root: () => ask(`https://127.0.0.1:${managementPort}/roots/0`),
    output: () => server.output(),
    stop: () => server.stop(),
    restart: run,
    async close() {
      await Promise.all([server.stop(), names.stop(), dispatcher.close()])
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
