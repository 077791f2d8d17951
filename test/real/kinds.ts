/** The upstreams and clients of the comparison: how each is started. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { has } from '../support/processes.ts'
import { CACHE, type Tool, type Tools } from './cache.ts'

/** Clients are compared only at upstreams of the same protocol. */
type Protocol = 'http' | 'socket.io' | 'websocket' | 'git'

export interface Command {
  args: string[]
  env?: Record<string, string>
}

export interface UpstreamKind {
  name: string
  protocol: Protocol
  /** @param prefix of all its paths; `files` is an empty folder @returns a command line, or the reason why it cannot be started */
  command(tools: Tools, port: number, prefix: string, files: string): Command | { missing: string }
}

export interface ClientKind {
  name: string
  protocol: Protocol
  /** Without the list of exchanges and the addresses, which are added. */
  command(tools: Tools): Command | { missing: string }
}

const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url))
const using = (tool: Tool, make: (path: string) => Command) => ('missing' in tool ? tool : make(tool.path))
const node = (file: string, ...more: string[]): Command => ({ args: [process.execPath, pathOf(file), ...more], env: { CACHE } })
const gunicorn = (python: string, app: string, port: number, prefix: string): Command => ({
  args: [
    python,
    '-m',
    'gunicorn',
    '--log-level',
    'critical',
    '-k',
    'gthread',
    '--threads',
    '4',
    '-b',
    `127.0.0.1:${port}`,
    '--chdir',
    pathOf('upstreams'),
    app,
  ],
  env: { PREFIX: prefix, PYTHONDONTWRITEBYTECODE: '1' },
})

export const UPSTREAMS: UpstreamKind[] = [
  { name: 'node-http', protocol: 'http', command: (_, port, prefix) => node('upstreams/node-http.ts', `${port}`, prefix) },
  {
    name: 'express',
    protocol: 'http',
    command: ({ npm }, port, prefix) => using(npm, () => node('upstreams/express.ts', `${port}`, prefix, CACHE)),
  },
  { name: 'fastify', protocol: 'http', command: (_, port, prefix) => node('upstreams/fastify.ts', `${port}`, prefix) },
  {
    name: 'go-http',
    protocol: 'http',
    command: ({ go }, port, prefix) => using(go('upstreams/server.go'), (path) => ({ args: [path, `${port}`, prefix] })),
  },
  {
    name: 'python-http',
    protocol: 'http',
    command: ({ python }, port, prefix, files) => {
      writeFileSync(join(files, 'small'), 'a small file')
      writeFileSync(join(files, 'large upload'), Buffer.alloc(1_000_000, '0123456789abcdef'))
      return using(python, (path) => ({ args: [path, pathOf('upstreams/http_server.py'), `${port}`, prefix, files] }))
    },
  },
  {
    name: 'gunicorn',
    protocol: 'http',
    command: ({ python }, port, prefix) => using(python, (path) => gunicorn(path, 'wsgi_app:app', port, prefix)),
  },
  {
    name: 'django',
    protocol: 'http',
    command: ({ python }, port, prefix) => using(python, (path) => gunicorn(path, 'django_app:app', port, prefix)),
  },
  { name: 'nginx', protocol: 'http', command: (_, port, prefix, files) => nginx(port, prefix, files) },
  {
    name: 'socket.io',
    protocol: 'socket.io',
    command: ({ npm }, port, prefix) => using(npm, () => node('upstreams/socket-io.ts', `${port}`, prefix, CACHE)),
  },
  { name: 'websocket', protocol: 'websocket', command: (_, port) => node('upstreams/websocket.ts', `${port}`) },
  {
    name: 'git-http',
    protocol: 'git',
    command: ({ python }, port, prefix, files) => {
      if (!has('git')) return { missing: 'git is not installed' }
      return using(python, (path) => ({ args: [path, pathOf('upstreams/git_http.py'), `${port}`, prefix, files] }))
    },
  },
]

function nginx(port: number, prefix: string, folder: string): Command | { missing: string } {
  if (!has('nginx')) return { missing: 'nginx is not installed' }
  const files = join(folder, 'files')
  mkdirSync(files)
  writeFileSync(join(files, 'large'), Buffer.alloc(1_000_000, '0123456789abcdef'))
  for (const name of ['empty', 'chunked.txt', 'range', 'etag', 'gzip', 'poll'])
    writeFileSync(join(files, name), name === 'empty' ? '' : '0123456789')
  const text = readFileSync(pathOf('upstreams/nginx.conf'), 'utf8')
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, text.replaceAll('PORT', `${port}`).replaceAll('PREFIX', prefix).replaceAll('FOLDER', folder))
  return { args: ['nginx', '-p', folder, '-c', file] }
}

const installed = (command: string, make: () => Command) => (has(command) ? make() : { missing: `${command} is not installed` })
const python = (tools: Tools, library: string) =>
  using(tools.python, (path) => ({ args: [path, pathOf('clients/client.py')], env: { LIBRARY: library } }))
const curl = (version: string): ClientKind => ({
  name: `curl ${version}`,
  protocol: 'http',
  command: () => installed('curl', () => ({ ...node('clients/curl.ts'), env: { VERSION: version } })),
})

export const CLIENTS: ClientKind[] = [
  { name: 'fetch', protocol: 'http', command: () => node('clients/fetch.ts') },
  { name: 'node:http', protocol: 'http', command: () => node('clients/node-http.ts') },
  curl('--http1.1'),
  curl('--http1.0'),
  curl('--http2'),
  { name: 'wget', protocol: 'http', command: () => installed('wget', () => node('clients/wget.ts')) },
  { name: 'go', protocol: 'http', command: ({ go }) => using(go('clients/client.go'), (path) => ({ args: [path] })) },
  { name: 'urllib', protocol: 'http', command: (tools) => python(tools, 'urllib') },
  { name: 'requests', protocol: 'http', command: (tools) => python(tools, 'requests') },
  { name: 'java', protocol: 'http', command: () => installed('javac', () => ({ args: ['java', pathOf('clients/Client.java')] })) },
  { name: 'socket.io', protocol: 'socket.io', command: ({ npm }) => using(npm, () => node('clients/socket-io.ts')) },
  { name: 'websocket', protocol: 'websocket', command: () => node('clients/websocket.ts') },
  { name: 'git', protocol: 'git', command: () => installed('git', () => node('clients/git.ts')) },
]
