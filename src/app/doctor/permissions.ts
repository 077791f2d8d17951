/** Files that only the gateway may read, and folders that it must write. */
import { accessSync, constants, existsSync, lstatSync, readFileSync, type Stats, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Config } from '../../platform/config/schema.ts'
import { type Finding, fail, notChecked, ok, type Row, rowOf, warn } from './row.ts'

const GROUP_OR_OTHERS = 0o077
const OTHERS_READ = 0o004
const OTHERS_WRITE = 0o002

/** Files of variables that usually stand beside a configuration. */
export const environmentFilesBeside = (file: string): string[] =>
  ['.env', 'env'].map((name) => join(dirname(resolve(file)), name)).filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())

export interface PermissionDeps {
  config: Config
  /** The configuration. */
  file: string | undefined
  /** The file of `--env-file`. */
  envFile: string | undefined
}

export function permissionRows({ config, file, envFile }: PermissionDeps): Row[] {
  const secretFiles = new Set([
    ...(envFile === undefined ? [] : [resolve(envFile)]),
    ...(file === undefined ? [] : environmentFilesBeside(file)),
  ])
  const key = config.server.tls?.key
  return [
    ...(file === undefined ? [] : [rowOf(`file ${basename(file)}`, judgeConfiguration(file))]),
    ...[...secretFiles].map((path) => rowOf(`file ${basename(path)}`, judgeSecretFile(path, 'it holds secrets'))),
    ...(key === undefined || !existsSync(key)
      ? []
      : [rowOf('file server.tls.key', judgeSecretFile(key, 'it is a private key', OTHERS_READ | OTHERS_WRITE))]),
    ...(needsDataDir(config) ? [rowOf('folder database.dataDir', judgeFolder(config.database.dataDir))] : []),
  ]
}

/** For the embedded database, and for mails when there is no mail server. */
export const needsDataDir = ({ database, mail }: Config): boolean => database.url === 'embedded' || mail.url === undefined

function judgeConfiguration(file: string): Finding {
  const mode = modeOf(statSync(file))
  if (mode & OTHERS_WRITE) return fail(`${file}: everybody on this machine may change it (${shown(mode)})`, `chmod o-w ${file}`)
  if (mode & OTHERS_READ && URL_WITH_PASSWORD.test(readFileSync(file, 'utf8')))
    return fail(`${file}: everybody on this machine may read it (${shown(mode)}), and it holds a URL with a password`, `chmod 640 ${file}`)
  return ok(`${file}, ${shown(mode)}`)
}

/** A URL of a store or of a mail server with a password. The environment may give other URLs, which are not in the file. */
const URL_WITH_PASSWORD = /\b(?:postgres(?:ql)?|rediss?(?:\+\w+)?|smtps?):\/\/[^/\s"'@]*:[^/\s"'@]+@/

function judgeSecretFile(path: string, why: string, forbidden = GROUP_OR_OTHERS): Finding {
  const mode = modeOf(statSync(path))
  const who = mode & OTHERS_READ ? 'everybody on this machine' : 'the group of the file'
  return mode & forbidden
    ? fail(`${path}: ${who} may read it (${shown(mode)}), and ${why}`, `chmod ${mode & 0o007 ? 'go' : 'g'}-rwx ${path}`)
    : ok(`${path}, ${shown(mode)}`)
}

function judgeFolder(dataDir: string): Finding {
  const path = resolve(dataDir)
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) {
    const parent = nearestFolder(path)
    return mayWrite(parent)
      ? ok(`${path} is made at the first start`)
      : fail(`${path} is not there, and this user may not write to ${parent}`, `sudo install -d -m 700 -o ${userText()} ${path}`)
  }
  const target = statSync(path)
  if (!target.isDirectory()) return fail(`${path} is not a folder`, 'set database.dataDir to a folder')
  if (!mayWrite(path)) return fail(`${path}: this user may not write to it`, `sudo chown -R ${userText()} ${path}`)
  const mode = modeOf(target)
  if (isForeign(target))
    return notChecked(
      `${path} belongs to the user ${target.uid}: only that user's gateway can use it`,
      `run this command as that user: sudo -u '#${target.uid}' …`,
    )
  return mode & OTHERS_READ
    ? warn(`${path}: everybody on this machine may read it (${shown(mode)})`, `chmod 700 ${path}`)
    : ok(`${path}, ${shown(mode)}`)
}

function nearestFolder(path: string): string {
  let at = dirname(path)
  while (!existsSync(at)) at = dirname(at)
  return at
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Root may write everywhere, and would leave files that the gateway cannot use. */
const isForeign = ({ uid }: Stats): boolean => process.getuid !== undefined && uid !== process.getuid()
const userText = (): string => String(process.getuid?.() ?? 'the_user')
const modeOf = ({ mode }: Stats): number => mode & 0o777
const shown = (mode: number): string => mode.toString(8).padStart(4, '0')
