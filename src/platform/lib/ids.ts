/** A UUID in the one spelling that we write. */
export const ID_PATTERN = '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$'

const ID = new RegExp(ID_PATTERN)

/** Text of another form is no id of ours: nothing is called that, and Postgres would refuse it. */
export const isId = (text: string): boolean => ID.test(text)
