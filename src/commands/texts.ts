import { Command } from 'commander'
import { withExamples } from './help.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage.ts'

export const textsCommand = (terminal: Terminal): Command =>
  withExamples(
    new Command('texts')
      .description('prints the texts of pages and mails as YAML, for a file of auth.browser.texts')
      .argument('[LANGUAGE]', 'such as de; default: en'),
    `
portcullis texts > texts-en.yaml
portcullis texts de > texts-de.yaml
portcullis texts fr > texts-fr.yaml
`,
    'A file needs only the texts that differ. A language that is not built in is printed in English, to be translated.',
  ).action(async (language = 'en') => {
    if (!/^[a-z]{2,3}(-[A-Z]{2})?$/.test(language)) throw new UsageError(`LANGUAGE is a code such as de or de-AT, not ${language}`)
    terminal.print(await textsAsYaml(language))
  })

/** One block for each page, in the order of the built-in texts. */
export async function textsAsYaml(language: string): Promise<string> {
  const { stringify } = await import('yaml')
  const { builtInTexts } = await import('../platform/texts/texts.ts')
  const { code, texts } = builtInTexts(language)
  const blocks = Map.groupBy(Object.entries(texts), ([key]) => key.split('.')[0])
  const head = `# Texts of pages and mails: ${language}. Each {name} stands for a value and must stay.`
  const note = code === language ? [] : [`# ${language} is not built in: these are the texts of ${code}.`]
  const body = [...blocks.values()].map((block) => stringify(Object.fromEntries(block), { lineWidth: 0 }).trimEnd())
  return [[head, ...note].join('\n'), ...body].join('\n\n')
}
