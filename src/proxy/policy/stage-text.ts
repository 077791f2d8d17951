import type { TextKey } from '../../platform/texts/en.ts'
import type { Language } from '../../platform/texts/texts.ts'
import type { Candidate } from './candidates.ts'
import type { StageFinding } from './explain.ts'

/** Why a stage has its result, in a sentence for people. */
export function stageText({ text }: Pick<Language, 'text'>, { reason, values }: StageFinding): string {
  const access = values.access === 'authenticated' ? text('why.authenticated') : values.access
  if (reason !== 'refused') return text(`why.reason.${reason}`, access ? { ...values, access } : values)
  if (values.network) return text('why.network', values)
  if (values.countries) return text(values.country ? 'why.countries' : 'why.countries-unknown', values)
  // the sentence for clients says nothing that the requirement of the route does not say better
  const detail = values.code === 'forbidden' && access ? '' : values.detail
  return [access ? text('why.needs', { access }) : '', detail].filter(Boolean).join(' ')
}

/** Why a route takes the request, or does not. */
export const candidateText = ({ text }: Pick<Language, 'text'>, { route, result }: Candidate): string =>
  text(`why.candidate.${result}` as TextKey, {
    path: route.path,
    host: route.host ?? '*',
    methods: [...(route.methods ?? ['*'])].join(', '),
  })
