/** What is wrong with a YAML text, mostly in our own words: texts of the parser may repeat parts of the file, which may be secrets. */
import type { YAMLError } from 'yaml'

interface Explanation {
  message: string
  /** What would be right. */
  hint: string
}

const GENERAL_HINT = 'compare the line with config/portcullis.yaml'
const QUOTE = 'put the value in quotes'
const QUOTE_TAG = 'quote a value that begins with an exclamation mark'

export const UNKNOWN_ALIAS: Explanation = {
  message: 'an asterisk refers to a value that is marked with &, but there is no such value before it',
  hint: 'quote a value that begins with an asterisk',
}

export const LOOPING_ALIASES: Explanation = {
  message: 'its aliases cannot be followed: they contain themselves, or they make too many values',
  hint: 'write the values out',
}

export const NAME_IN_BRACKETS: Explanation = {
  message: 'a name cannot be a list or a mapping',
  hint: 'quote a value that begins with a bracket or a brace',
}

/** By the code of the parser's error. Without a message of ours: all texts of the parser for this code are fixed. */
const BY_CODE: Record<YAMLError['code'], Partial<Explanation> & Pick<Explanation, 'hint'>> = {
  ALIAS_PROPS: { message: 'a value that begins with an asterisk cannot have an anchor (&) or a tag (!)', hint: QUOTE },
  BAD_ALIAS: { message: 'the name behind & or * is missing, or it ends with a colon', hint: 'quote a value that begins with & or *' },
  BAD_COLLECTION_TYPE: { message: 'a tag (!) does not fit its value', hint: QUOTE_TAG },
  BAD_DIRECTIVE: { message: 'a line cannot begin with a percent sign', hint: 'remove the line, or quote the value' },
  BAD_DQ_ESCAPE: {
    message: 'a backslash has no meaning here',
    hint: 'write two backslashes for a backslash, or put the value in single quotes',
  },
  BAD_INDENT: {
    message: 'the indentation is wrong, or a bracket is not closed',
    hint: 'give all entries of a list or mapping the same indentation, and close every bracket',
  },
  BAD_PROP_ORDER: { message: 'an anchor (&) or a tag (!) is in the wrong place', hint: 'quote a value that begins with & or !' },
  BAD_SCALAR_START: { message: 'a value without quotes cannot begin with this character', hint: QUOTE },
  BLOCK_AS_IMPLICIT_KEY: {
    hint: 'the next line may be indented too far: keys of one mapping start in the same column',
  },
  BLOCK_IN_FLOW: { message: 'a list or mapping without brackets cannot be inside brackets', hint: GENERAL_HINT },
  DUPLICATE_KEY: { message: 'Map keys must be unique', hint: 'keep only one of them' },
  IMPOSSIBLE: { message: 'is not valid YAML', hint: GENERAL_HINT },
  KEY_OVER_1024_CHARS: { message: 'a name is longer than 1024 characters', hint: 'a quote may be missing' },
  MISSING_CHAR: {
    hint: 'a colon, dash, quote or bracket may be missing, or the indentation may be wrong',
  },
  MULTILINE_IMPLICIT_KEY: {
    hint: 'a colon may be missing, or the next line may be indented too far',
  },
  MULTIPLE_ANCHORS: { message: 'a value has two anchors (&)', hint: 'quote a value that begins with &' },
  MULTIPLE_DOCS: { message: 'a second document begins here', hint: 'remove the line with three dashes: a file holds one document' },
  MULTIPLE_TAGS: { message: 'a value has two tags (!)', hint: QUOTE_TAG },
  NON_STRING_KEY: NAME_IN_BRACKETS,
  RESOURCE_EXHAUSTION: { message: 'lists and mappings are nested too deeply', hint: GENERAL_HINT },
  TAB_AS_INDENT: { hint: 'use two spaces for each level' },
  TAG_RESOLVE_FAILED: { message: 'a tag (!) is unknown, or it does not fit its value', hint: QUOTE_TAG },
  UNEXPECTED_TOKEN: {
    message: 'a character or a word is in the wrong place',
    hint: 'quote a value that holds special characters, and close every quote and bracket',
  },
}

export const explainYaml = ({ code, message }: YAMLError): Explanation => ({ message, ...(BY_CODE[code] ?? BY_CODE.IMPOSSIBLE) })
