import { expect, test } from 'vitest'
import { rolesAfter } from '../../../src/identity/providers/provider-roles.ts'

const RULE = { claim: 'groups', map: { staff: ['editor'], leads: ['editor', 'admin'], __proto: ['x'] } }

test.each([
  ['a group grants its roles, and other roles stay', ['user'], ['staff'], ['editor', 'user']],
  ['a role that no group grants any more goes', ['admin', 'editor', 'user'], ['staff'], ['editor', 'user']],
  ['an answer without the claim grants nothing', ['editor', 'user'], null, ['user']],
  ['an unknown group grants nothing', ['user'], ['admin', 'constructor', 'toString'], ['user']],
])('%s', (_, roles, groups, expected) => {
  expect(rolesAfter(roles, RULE, groups)).toEqual(expected)
})

test('without a rule roles stay as they are', () => {
  expect(rolesAfter(['admin'], undefined, ['staff'])).toEqual(['admin'])
})
