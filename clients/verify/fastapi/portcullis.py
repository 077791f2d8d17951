"""FastAPI: the caller of a request that came through the gateway. Needs the packages pyjwt and cryptography."""
from dataclasses import dataclass
from typing import Optional
from urllib.parse import unquote

import jwt
from fastapi import HTTPException, Request


@dataclass
class Caller:
    id: str
    roles: list[str]
    scopes: list[str]
    session: Optional[str]
    email: Optional[str]


class Portcullis:
    """A dependency that verifies X-Auth-Assertion. None: the gateway let an anonymous request pass.

    audience: this service, as the gateway's route names it.
    """

    def __init__(self, issuer: str, audience: str, jwks_uri: str):
        self.issuer, self.audience = issuer, audience
        self.keys = jwt.PyJWKClient(jwks_uri)

    # no `async`: FastAPI then runs it beside the event loop, since the keys are read over the network
    def __call__(self, request: Request) -> Optional[Caller]:
        assertion = request.headers.get("x-auth-assertion")
        if assertion is None:
            return None
        try:
            if jwt.get_unverified_header(assertion).get("typ") != "assertion+jwt":
                raise jwt.InvalidTokenError("another type")
            claims = jwt.decode(
                assertion,
                self.keys.get_signing_key_from_jwt(assertion),
                algorithms=["ES256", "EdDSA", "RS256"],
                issuer=self.issuer,
                audience=self.audience,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise HTTPException(401, "The assertion is not valid.") from error
        # the assertion proves that the gateway sent the request, so its headers are the gateway's, percent-encoded
        email = request.headers.get("x-auth-email")
        return Caller(
            claims["sub"], claims["roles"], claims["scope"].split(), claims.get("sid"), None if email is None else unquote(email)
        )
