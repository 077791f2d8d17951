"""Gives each case of Schemathesis credentials that are valid when it is sent, and keeps count of the answers."""

import atexit
import json
import os
from collections import Counter, defaultdict
from urllib.request import Request, urlopen

import schemathesis
from schemathesis.generation import GenerationMode

KEEPER = os.environ["PORTCULLIS_KEEPER"]
ORIGIN = os.environ["PORTCULLIS_URL"]
STATUSES = os.environ.get("PORTCULLIS_STATUSES")

# What each kind of caller is, until it has been used up.
held = {}
answers = defaultdict(Counter)
calls = 0

# A success of these ends the session of the caller, or replaces its tokens.
ENDING = {
    "postLogout", "postLogoutAll", "postReauthenticate", "postRefresh", "deleteMe", "postPasswordChange", "deleteSessions", "deleteOwnSession",
    "deleteSession", "postRevoke", "postMfaTotpConfirm", "deleteMfaTotp", "postAdminKeysRotate", "postAdminKeysRevoke",
}


def holder(kind):
    if kind not in held:
        with urlopen(Request(f"{KEEPER}/{kind}", method="POST")) as answer:
            held[kind] = json.load(answer)
    return held[kind]


def kind_of(operation):
    return "admin" if "/admin/" in operation.path else "user"


def schemes_of(operation):
    return {name for way in operation.definition.raw.get("security", []) for name in way}


@schemathesis.auth(refresh_interval=None)
class Callers:
    """Bearer tokens and session cookies take turns."""

    def get(self, case, context):
        schemes = schemes_of(context.operation)
        if "client" in schemes:
            return ("client", holder("client"))
        if "bearer" not in schemes:
            return None
        way = "cookie" if "cookie" in schemes and calls % 4 == 3 else "bearer"
        return (way, holder(kind_of(context.operation)))

    def set(self, case, data, context):
        way, who = data
        case.headers = case.headers or {}
        if way == "bearer":
            case.headers["Authorization"] = f"Bearer {who['token']}"
        elif way == "cookie":
            name, value = who["cookie"].split("=", 1)
            case.cookies = {**(case.cookies or {}), name: value}
            case.headers["Origin"] = ORIGIN
        else:
            case.headers["Authorization"] = basic(who["id"], who["secret"])


def basic(name, secret):
    import base64

    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


@schemathesis.hook
def after_call(ctx, case, response):
    global calls
    calls += 1
    operation = case.operation.definition.raw.get("operationId")
    answers[case.operation.label][response.status_code] += 1
    if operation in ENDING and response.status_code < 300:
        held.clear()
    if response.status_code == 401 and b'"token_' in response.content:
        held.clear()


@atexit.register
def write_statuses():
    if STATUSES:
        with open(STATUSES, "w") as file:
            json.dump(answers, file, indent=1, sort_keys=True)
