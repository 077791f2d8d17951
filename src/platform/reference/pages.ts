/** The files that are generated from the code. */
import { configurationPage, jsonSchema } from './configuration-page.ts'
import { errorsPage } from './errors-page.ts'
import { metricsPage } from './metrics-page.ts'

export const referencePages = (): [file: string, text: string][] => [
  ['config/portcullis.schema.json', jsonSchema()],
  ['docs/configuration.md', configurationPage()],
  ['docs/errors.md', errorsPage()],
  ['docs/metrics.md', metricsPage()],
]
