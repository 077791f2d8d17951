"""Django: the caller of a request that came through the gateway. Needs the packages pyjwt and cryptography."""
from dataclasses import asdict, dataclass
from typing import Optional
from urllib.parse import unquote

import jwt
from django.conf import settings
from django.http import JsonResponse


@dataclass
class Caller:
    id: str
    roles: list
    scopes: list
    session: Optional[str]
    email: Optional[str]

    def as_dict(self):
        return asdict(self)


class PortcullisMiddleware:
    """Verifies X-Auth-Assertion and sets request.caller. None: the gateway let an anonymous request pass.

    settings.PORTCULLIS: issuer, audience (this service, as the gateway's route names it), jwks_uri.
    """

    def __init__(self, get_response):
        self.get_response = get_response
        self.keys = jwt.PyJWKClient(settings.PORTCULLIS["jwks_uri"])

    def __call__(self, request):
        assertion = request.headers.get("X-Auth-Assertion")
        try:
            request.caller = None if assertion is None else self.verify(assertion, request.headers.get("X-Auth-Email"))
        except jwt.PyJWTError:
            return JsonResponse({"error": "The assertion is not valid."}, status=401)
        return self.get_response(request)

    def verify(self, assertion, email):
        if jwt.get_unverified_header(assertion).get("typ") != "assertion+jwt":
            raise jwt.InvalidTokenError("another type")
        claims = jwt.decode(
            assertion,
            self.keys.get_signing_key_from_jwt(assertion),
            algorithms=["ES256", "EdDSA", "RS256"],
            issuer=settings.PORTCULLIS["issuer"],
            audience=settings.PORTCULLIS["audience"],
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        # the assertion proves that the gateway sent the request, so its headers are the gateway's, percent-encoded
        decoded = None if email is None else unquote(email)
        return Caller(claims["sub"], claims["roles"], claims["scope"].split(), claims.get("sid"), decoded)
