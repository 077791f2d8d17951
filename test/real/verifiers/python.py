"""Verifies tokens with Python libraries. Standard input: one JSON object; standard output: a line for each library and token."""
import json
import sys
import urllib.request
import warnings

# Authlib announces that its parts move to joserfc
warnings.simplefilter("ignore")

import jwt
from authlib.jose import JsonWebKey, JsonWebToken
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet


def fetch(uri):
    with urllib.request.urlopen(uri) as response:
        return json.load(response)


def pyjwt(token, alg, issuer, audience, jwks_uri):
    key = jwt.PyJWKClient(jwks_uri).get_signing_key_from_jwt(token)
    jwt.decode(token, key, algorithms=[alg], issuer=issuer, audience=audience)


def authlib(token, alg, issuer, audience, jwks_uri):
    options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": audience}}
    keys = JsonWebKey.import_key_set(fetch(jwks_uri))
    JsonWebToken([alg]).decode(token, keys, claims_options=options).validate()


def joserfc(token, alg, issuer, audience, jwks_uri):
    decoded = joserfc_jwt.decode(token, KeySet.import_key_set(fetch(jwks_uri)), algorithms=[alg])
    joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer}, aud={"essential": True, "value": audience}, exp={"essential": True}
    ).validate(decoded.claims)


expected = json.load(sys.stdin)
for library, verify in {"PyJWT": pyjwt, "Authlib": authlib, "joserfc": joserfc}.items():
    for name, token in expected["tokens"].items():
        parameters = {key: token.get(key, expected.get(key)) for key in ("alg", "issuer", "audience", "jwks_uri")}
        answer = {"library": library, "name": name, "accepted": True}
        try:
            verify(token["token"], **parameters)
        except Exception as error:
            answer |= {"accepted": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer))
