#!/usr/bin/env node
/**
 * Starts the command line from a checkout or from a build. It is plain JavaScript, so that an old Node can read it, too.
 * When the running Node is too old, the Node of the devDependency `node` takes over.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const minimum = /\d+(\.\d+)*/.exec(engines.node)[0]

const isAtLeast = (version, wanted) => {
  const [have, need] = [version, wanted].map((text) => text.split('.').map(Number))
  for (let i = 0; i < need.length; i++) if (have[i] !== need[i]) return have[i] > need[i]
  return true
}

function refuse(...lines) {
  for (const line of lines) console.error(line)
  process.exit(2)
}

function runWith(node, entry) {
  const child = spawn(node, [entry, ...process.argv.slice(2)], { stdio: 'inherit' })
  // Ctrl-C in a terminal reaches both processes; the child decides when to end
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => refuse(`portcullis: ${node} cannot be started: ${error.message}`, 'Run `npm ci` again.'))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

// Node does not strip types from files below node_modules
const source = join(root, 'src', 'cli.ts')
const entry = existsSync(source) && !root.includes(`${sep}node_modules${sep}`) ? source : join(root, 'dist', 'src', 'cli.js')
const pinned = join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')

if (!existsSync(entry)) refuse(`portcullis: there is no ${entry}.`, 'Run `npm run build` in the checkout first.')
else if (entry === source && !existsSync(join(root, 'node_modules')))
  refuse('portcullis: its packages are not installed.', `Run \`npm ci\` in ${root}.`)
else if (isAtLeast(process.versions.node, minimum)) await import(pathToFileURL(entry).href)
else if (existsSync(pinned)) runWith(pinned, entry)
else
  refuse(
    `portcullis: it needs Node ${minimum} or newer, and this is Node ${process.versions.node} (${process.execPath}).`,
    'Install a newer Node, or run `npm ci` in a checkout: it installs a Node of its own.',
  )
