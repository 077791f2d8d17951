/** A UUID in lower case with hyphens, the only form that we write. */
export const ID_PATTERN = '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$'

const ID = new RegExp(ID_PATTERN)

/** Whether the text can be an id of ours. Postgres would refuse other text with an error. */
export const isId = (text: string): boolean => ID.test(text)
