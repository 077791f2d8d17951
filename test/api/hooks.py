"""Gives each case credentials and values that are valid when it is sent, says which refusals a schema cannot foresee, and counts the answers."""

import atexit
import base64
import json
import os
from collections import Counter, defaultdict
from urllib.request import Request, urlopen

import schemathesis

KEEPER = os.environ["PORTCULLIS_KEEPER"]
ORIGIN = os.environ["PORTCULLIS_URL"]
STATUSES = os.environ["PORTCULLIS_STATUSES"]

# Callers by kind, until they are used up.
held = {}
statuses = defaultdict(Counter)
refusals = Counter()
turn = 0

# A success of these ends the session of the caller, or replaces its tokens.
ENDING = {
    "deleteMe",
    "deleteMfaTotp",
    "deleteOwnSession",
    "deleteSession",
    "deleteSessions",
    "postAdminKeysRevoke",
    "postAdminKeysRotate",
    "postLogout",
    "postLogoutAll",
    "postMfaTotpConfirm",
    "postPasswordChange",
    "postReauthenticate",
    "postRefresh",
    "postRevoke",
}

# Refusals that depend on what is stored or configured, on the clock, on the password policy, or on other fields. No schema foresees them.
UNFORESEEABLE = {
    "link_invalid",  # the token is of the right form, and of no mail
    "flow_invalid",
    "invitation_invalid",
    "logout_token_invalid",
    "invalid_scope",
    "unsupported_grant_type",
    "body_too_large",  # JSON Schema counts characters of fields, and a server counts bytes of the whole
    "target_too_long",
}
# Which fields are needed depends on each other, or on whether the user has a password. Generators of clients do not understand such rules.
CONDITIONAL = {"patchMe", "postReauthenticate", "postMfaTotp", "postPasswordChange", "postAdminExternalBlock", "postAdminExternalUnblock", "postLoginEmailVerify"}
UNFORESEEABLE_FIELDS = {
    "breached",
    "contains_name",
    "in_future",
    "in_past",
    "not_allowed",  # together with another field
    "private_key",
    "same_as_current",
    "taken",
    "too_common",
    "unknown_role",
    "unsupported_key",
}


def keep(kind):
    with urlopen(Request(f"{KEEPER}/{kind}", method="POST")) as answer:
        return json.load(answer)


def holder(kind):
    if kind not in held:
        held[kind] = keep(kind)
    return held[kind]


def operation_id(case):
    return case.operation.definition.raw["operationId"]


def schemes_of(operation):
    return {name for way in operation.definition.raw.get("security", []) for name in way}


def caller_of(operation):
    return holder("admin" if "/admin/" in operation.path else "user")


def basic(name, secret):
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


@schemathesis.auth(refresh_interval=None)
class Callers:
    """Access tokens and session cookies take turns."""

    def get(self, case, context):
        schemes = schemes_of(context.operation)
        if "client" in schemes:
            return ("client", holder("client"))
        if "bearer" in schemes:
            return ("cookie" if turn % 4 == 3 else "bearer", caller_of(context.operation))
        return None

    def set(self, case, data, context):
        way, who = data
        case.headers = case.headers or {}
        if way == "client":
            case.headers["Authorization"] = basic(who["id"], who["secret"])
        elif way == "bearer":
            case.headers["Authorization"] = f"Bearer {who['token']}"
        else:
            name, value = who["cookie"].split("=", 1)
            case.cookies = {**(case.cookies or {}), name: value}
            case.headers["Origin"] = ORIGIN


def fill_path(case):
    """A user or a machine client that exists. The stateful phase finds its own."""
    path, parameters = case.operation.path, dict(case.path_parameters or {})
    if path.startswith("/auth/admin/users/{id}"):
        who = keep("user")
        parameters["id"] = who["id"]
        if "sessionId" in parameters:
            parameters["sessionId"] = who["session_id"]
        if "role" in parameters:
            parameters["role"] = "user"
    elif path.startswith("/auth/admin/clients/{id}"):
        parameters["id"] = keep("client")["id"]
    else:
        return
    case.path_parameters = parameters


def password_of(body, field, who):
    body[field] = who["password"]


def fill_login(body, _):
    who = keep("user")
    body.update(login=who["email"], password=who["password"])


def fill_refresh(body, who):
    body["refresh_token"] = who["refresh_token"]


def fill_new_password(field):
    def fill(body, _):
        body[field] = f"plain zebra {turn} meadow"

    return fill


def fill_names(body, _):
    name = f"name{turn}"
    body["email"] = f"{name}@example.com"
    if "username" in body:
        body["username"] = name


def fill_client(body, _):
    for name in ("client_id", "client_secret", "client_assertion", "client_assertion_type", "scope"):
        body.pop(name, None)


def fill_token(body, _):
    fill_client(body, _)
    body["token"] = holder("user")["token"]


# Values that only a program with a memory has.
FILLERS = {
    "postLogin": [fill_login],
    "postRefresh": [fill_refresh],
    "postRegister": [fill_names, fill_new_password("password")],
    "postReauthenticate": [lambda body, who: password_of(body, "password", who)],
    "postMfaTotp": [lambda body, who: password_of(body, "password", who)],
    "postMfaBackupCodes": [lambda body, who: password_of(body, "password", who)],
    "postPasswordChange": [lambda body, who: password_of(body, "current_password", who), fill_new_password("new_password")],
    "patchMe": [lambda body, who: password_of(body, "current_password", who)],
    "postAdminUsers": [fill_names, fill_new_password("password"), lambda body, _: body.update(roles=["user"])],
    "postToken": [fill_client],
    "postIntrospect": [fill_token],
    "postRevoke": [fill_token],
}
# The fillers of these always run: a password is optional for users without one alone, and a client has one credential.
ALWAYS = {"postReauthenticate", "postMfaTotp", "postPasswordChange", "postToken", "postIntrospect", "postRevoke"}


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context, case, kwargs):
    global turn
    turn += 1
    if not is_positive(case):
        return
    if case.meta.phase.name.name != "STATEFUL" and turn % 4:
        fill_path(case)
    if not isinstance(case.body, dict):
        return
    name = operation_id(case)
    if name in FILLERS and (turn % 4 or name in ALWAYS):
        body = dict(case.body)
        who = caller_of(case.operation) if "bearer" in schemes_of(case.operation) else holder("user")
        for fill in FILLERS[name]:
            fill(body, who)
        case.body = body
    if case.body.get("session") == "cookie":
        case.headers = {**(case.headers or {}), "Origin": ORIGIN}


@schemathesis.hook
def after_call(context, case, response):
    statuses[case.operation.label][response.status_code] += 1
    is_over = response.status_code == 401 and b'"code":"token_' in response.content
    if is_over or (response.status_code < 300 and operation_id(case) in ENDING):
        held.clear()


def is_unforeseeable(error, case):
    field, code = error["field"], error["code"]
    return (
        code in UNFORESEEABLE_FIELDS
        or (operation_id(case) in CONDITIONAL and (code == "required" or field == "body"))
        or ("password" in field and code in {"too_short", "too_long"})  # the policy of the operator, and bytes
        or (field == "cursor" and code == "format")  # of an earlier page
        or (field in {"since", "until", "expires_at"} and code == "format")  # a leap second, or a year before 1970
        or field == "metadata"  # NUL in a member, and bytes of the whole
        or (field == "email" and code == "format" and "--" in str(case.body))  # IDNA refuses some names
    )


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A refusal of valid data is a failure, unless no schema foresees it."""
    if type(failure).__name__ != "RejectedPositiveData":
        return True
    body = json.loads(response.content)
    code = body.get("code", body.get("error"))
    errors = body.get("errors", [])
    if code in UNFORESEEABLE or (errors and all(is_unforeseeable(error, case) for error in errors)):
        refusals[code] += 1
        return False
    return True


@atexit.register
def write_statuses():
    with open(STATUSES, "w") as file:
        json.dump({"statuses": statuses, "refusals": refusals}, file, indent=1, sort_keys=True)
