import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command } from 'commander'
import { complainOfWarnings } from './configuration.ts'
import { withExamples } from './help.ts'
import { type Answers, QUESTIONS, type Question, WrongAnswer } from './init/answers.ts'
import type { PlannedFile } from './init/files.ts'
import type { Plan } from './init/plan.ts'
import type { Terminal } from './terminal.ts'
import { anyOf, UsageError } from './usage.ts'

interface InitArgs extends Partial<Record<keyof Answers, string>> {
  dir?: string
  certificate?: string
  certificateKey?: string
  acme?: string
  adminEmail?: string
  yes?: boolean
  force?: boolean
  dryRun?: boolean
}

const CONFIGURATION = 'portcullis.yaml'
const SECRETS = '.env'

export const initCommand = (terminal: Terminal): Command =>
  withExamples(
    new Command('init')
      .description(
        'writes the files of a new installation, after four questions: configuration, .env, and what runs and protects the gateway',
      )
      .option('--upstream <URL>', 'answers the first question: where your API is, such as http://localhost:3000')
      .option('--public-url <URL>', 'answers the second question: the address that people use, such as https://api.example.com')
      .option('--run <HOW>', 'answers the third question: compose, systemd or none')
      .option('--front <PROXY>', 'answers the fourth question: nginx, traefik, caddy or nothing')
      .option('--yes', 'takes the default for every question that no option answers')
      .option('--dir <FOLDER>', 'the folder that is written to (default: this folder)')
      .option('--certificate <FILE>', 'PEM file of the certificate chain; with --certificate-key')
      .option('--certificate-key <FILE>', 'PEM file of its private key')
      .option('--acme <EMAIL>', 'with nothing in front: fetch the certificate from Let’s Encrypt, and agree to its terms')
      .option('--admin-email <ADDRESS>', 'the first admin; a password is generated and written to .env')
      .option('--force', 'replaces files; copies of them stay as NAME.bak, and the secrets of .env stay as they are')
      .option('--dry-run', 'only print the files, without secrets'),
    `
portcullis init
portcullis init --yes --dir gateway
portcullis init --upstream http://localhost:3000 --public-url https://api.example.com --run compose --front nginx
portcullis init --upstream http://localhost:3000 --public-url https://api.example.com --run systemd --front nothing --acme ops@example.com
portcullis init --upstream http://localhost:3000 --public-url https://api.example.com --run systemd --front caddy --dry-run
`,
    `With systemd and none, DATABASE_URL and REDIS_URL of the environment are written to .env. Without them the gateway has an embedded database.
Files that are there already are never changed without --force: the exit code is then 1, and nothing is written.`,
  ).action(async (args: InitArgs) => init(terminal, args))

async function init(terminal: Terminal, args: InitArgs): Promise<void> {
  const answers = await answersOf(terminal, args)
  const plan = await planFrom(terminal, answers, args)
  const before = existingSecrets(plan, args)
  const files = await filesOf(plan, before)
  if (args.dryRun) return showFiles(terminal, files)
  const { presentOf, writeFiles } = await import('./init/files.ts')
  const present = presentOf(plan.dir, files)
  if (present.length > 0 && !args.force) {
    const are = present.length > 1 ? 'are' : 'is'
    terminal.complain(
      `${present.join(', ')} ${are} in ${plan.dir} already: nothing was written\n  name another folder with --dir, or replace them with --force`,
    )
    terminal.exitCode = 1
    return
  }
  const { backups } = writeFiles(plan.dir, files)
  terminal.print(`written to ${plan.dir}: ${files.map(({ name }) => name).join(', ')}`)
  if (backups.length > 0) terminal.print(`the files before are now ${backups.join(', ')}; the secrets in ${SECRETS} stayed as they were`)
  await checkWritten(terminal, plan)
  await showNext(terminal, plan)
}

/** Options answer first, then the defaults, then somebody on a terminal. @throws UsageError */
async function answersOf(terminal: Terminal, args: InitArgs): Promise<Answers> {
  const open = QUESTIONS.filter(({ key }) => args[key] === undefined)
  if (open.length > 0 && !args.yes && !terminal.isInteractive)
    throw new UsageError(
      `without a terminal init cannot ask: answer with ${listOf(open.map(({ flag }) => flag))}, or take the defaults with --yes`,
    )
  return terminal.withQuestions(async (ask) => {
    const answers: Partial<Answers> = {}
    for (const [i, question] of QUESTIONS.entries()) {
      const given = args[question.key]
      const answer =
        given !== undefined
          ? readFlag(question, given, answers)
          : args.yes
            ? readFlag(question, question.fallback, answers)
            : await askUntilRight(`${i + 1}/${QUESTIONS.length} `, question, answers)
      Object.assign(answers, { [question.key]: answer })
    }
    return answers as Answers

    async function askUntilRight(number: string, question: Question<keyof Answers>, soFar: Partial<Answers>) {
      for (;;) {
        const line = await ask(`${number}${question.text} [${question.fallback}]\n    > `)
        if (line === null) throw new UsageError('the input has ended: nothing was written')
        try {
          return question.read(line.trim() || question.fallback, soFar)
        } catch (error) {
          if (!(error instanceof WrongAnswer)) throw error
          terminal.complain(`    ${error.message}`)
        }
      }
    }
  })
}

function readFlag({ flag, read }: Question<keyof Answers>, text: string, soFar: Partial<Answers>): string {
  try {
    return read(text, soFar)
  } catch (error) {
    throw error instanceof WrongAnswer ? new UsageError(`${flag} ${text}: ${error.message}`) : error
  }
}

const listOf = (flags: readonly string[]) => anyOf(flags).replace(/ or (?=\S+$)/, ' and ')

async function planFrom(terminal: Terminal, answers: Answers, args: InitArgs): Promise<Plan> {
  const { planOf } = await import('./init/plan.ts')
  const { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl } = terminal.io.env
  const ignored = Object.entries({ DATABASE_URL: databaseUrl, REDIS_URL: redisUrl }).flatMap(([name, value]) => (value ? [name] : []))
  if (answers.run === 'compose' && ignored.length > 0)
    terminal.complain(
      `${ignored.join(' and ')} of the environment ${ignored.length > 1 ? 'are' : 'is'} not used: compose brings its own servers`,
    )
  const { certificate, certificateKey, acme, adminEmail } = args
  for (const [flag, address] of Object.entries({ '--admin-email': adminEmail, '--acme': acme }))
    if (address !== undefined && !/^[^\s@']+@[^\s@']+$/.test(address)) throw new UsageError(`${flag} ${address}: this is no e-mail address`)
  try {
    return planOf(answers, {
      dir: resolve(args.dir ?? '.'),
      certificate,
      certificateKey,
      acmeEmail: acme,
      adminEmail,
      databaseUrl: databaseUrl || undefined,
      redisUrl: redisUrl || undefined,
    })
  } catch (error) {
    throw error instanceof WrongAnswer ? new UsageError(error.message) : error
  }
}

function existingSecrets({ dir }: Plan, { force }: InitArgs): string {
  const file = join(dir, SECRETS)
  return force && existsSync(file) ? readFileSync(file, 'utf8') : ''
}

/** @param before the text of a `.env` that is replaced */
async function filesOf(plan: Plan, before: string): Promise<PlannedFile[]> {
  const [{ configurationText }, { environmentText, readEnvironmentFile }, { frontFiles }, { composeText }, { unitText }] =
    await Promise.all([
      import('./init/portcullis-yaml.ts'),
      import('./init/environment.ts'),
      import('./init/front.ts'),
      import('./init/compose.ts'),
      import('./init/systemd.ts'),
    ])
  const runner = {
    compose: () => [{ name: 'compose.yaml', text: composeText(plan) }],
    systemd: () => [{ name: 'portcullis.service', text: unitText(plan) }],
    none: () => [],
  }
  return [
    { name: CONFIGURATION, text: configurationText(plan) },
    { name: SECRETS, text: environmentText(plan, readEnvironmentFile(before)), isSecret: true },
    ...runner[plan.run](),
    ...frontFiles(plan),
  ]
}

async function showFiles(terminal: Terminal, files: readonly PlannedFile[]): Promise<void> {
  const { withoutValues } = await import('./init/environment.ts')
  for (const { name, text, isSecret } of files) terminal.print(`# ---- ${name}\n${isSecret ? withoutValues(text) : text}`)
}

/** The same as `portcullis check`, with the environment that the gateway will have. */
async function checkWritten(terminal: Terminal, { dir, gatewayCertificate, run }: Plan): Promise<void> {
  const [{ loadConfig, ConfigError }, { problemLines }, { readEnvironmentFile }] = await Promise.all([
    import('../app/load-config.ts'),
    import('../platform/config/source.ts'),
    import('./init/environment.ts'),
  ])
  const env = readEnvironmentFile(readFileSync(join(dir, SECRETS), 'utf8'))
  try {
    const { warnings, absentFiles } = loadConfig({ file: join(dir, CONFIGURATION), env })
    // the container has these files at another place
    const isForContainer = run === 'compose' && gatewayCertificate !== null
    await complainOfWarnings(terminal, [...warnings, ...(isForContainer ? [] : absentFiles)])
    terminal.print('the configuration is valid')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    terminal.complain(error.problems.map(problemLines).join('\n'))
    terminal.exitCode = 2
  }
}

async function showNext(terminal: Terminal, plan: Plan): Promise<void> {
  const { nextSteps } = await import('./init/next-steps.ts')
  const { certificate, adminEmail, run, acmeEmail, hostName } = plan
  const notes = [
    ...(certificate !== null && !existsSync(certificate.cert)
      ? [`Put the certificate into ${certificate.cert}, and its key into ${certificate.key}.`]
      : []),
    ...(acmeEmail === null ? [] : [`The certificate comes once ${hostName} leads to this machine, with the ports 80 and 443 open.`]),
    ...(run === 'systemd' ? ['The unit expects the program in /opt/portcullis: see docs/operations.md, systemd.'] : []),
    ...(adminEmail === undefined ? [] : [`The first admin is ${adminEmail}. The password is in ${SECRETS}.`]),
  ]
  terminal.print(['', ...notes, 'Next:', ...nextSteps(plan).map((command) => `  ${command}`)].join('\n'))
}
