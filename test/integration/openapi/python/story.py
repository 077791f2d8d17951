"""A program with the generated client: registers, logs in, refreshes, lists sessions, reads a problem, logs out. Prints its steps as JSON."""

import json
import sys

from generated import AuthenticatedClient, Client
from generated.api.account import get_me
from generated.api.login import post_login, post_logout, post_refresh, post_register
from generated.api.sessions import get_sessions
from generated.models import ErrorCode, LoginTokens, PostLoginBody, PostRefreshBody, PostRegisterBody, Problem

base_url, name = sys.argv[1:]
client = Client(base_url=base_url)
steps = []

body = PostRegisterBody(username=name, email=f"{name}@example.com", password="plain zebra in the meadow")
steps.append(int(post_register.sync_detailed(client=client, body=body).status_code))

refused = post_login.sync(client=client, body=PostLoginBody(login=name, password="not the password"))
assert isinstance(refused, Problem)
assert refused.code is ErrorCode.INVALID_CREDENTIALS
steps.append(refused.code.value)

login = post_login.sync(client=client, body=PostLoginBody(login=name, password="plain zebra in the meadow"))
assert isinstance(login, LoginTokens), login
steps += [login.user.username, login.token_type]

renewed = post_refresh.sync(client=client, body=PostRefreshBody(refresh_token=login.refresh_token))
assert not isinstance(renewed, Problem) and renewed is not None

mine = AuthenticatedClient(base_url=base_url, token=renewed.access_token)
listed = get_sessions.sync(client=mine)
assert listed is not None and not isinstance(listed, Problem)
steps += [len(listed.sessions), sum(session.current for session in listed.sessions), listed.sessions[0].created_at.year > 2000]

steps.append(int(post_logout.sync_detailed(client=mine).status_code))
after = get_me.sync(client=mine)
assert isinstance(after, Problem)
steps.append(after.code.value)

print(json.dumps(steps))
