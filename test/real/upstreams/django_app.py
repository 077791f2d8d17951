"""Django in one file, for gunicorn. Its prefix is in the environment variable PREFIX."""

import json
import os
import time

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import etag

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for this test",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)
PREFIX = os.environ.get("PREFIX", "").strip("/")


def seen(request):
    names = {name.lower(): value for name, value in request.headers.items()}
    return JsonResponse({"method": request.method, "url": request.get_full_path(), "bytes": len(request.body), "headers": names})


def cookies(request):
    response = HttpResponse(json.dumps(request.COOKIES))
    response.set_cookie("a", "1", httponly=True, samesite="Lax")
    response.set_cookie("b", "2")
    return response


def poll(_request):
    time.sleep(0.2)
    return HttpResponse("at last")


def stream(_request):
    return StreamingHttpResponse(iter([b"data: 1\n\n", b"data: 2\n\n"]), content_type="text/event-stream")


urlpatterns = [
    path(f"{PREFIX}/{name}", view)
    for name, view in {
        "small": seen,
        "echo": seen,
        "large": lambda _: HttpResponse(b"0123456789abcdef" * 62500),
        "empty": lambda _: HttpResponse(""),
        "none": lambda _: HttpResponse(status=204),
        "redirect": lambda _: HttpResponseRedirect(f"/{PREFIX}/small"),
        "cookies": cookies,
        "etag": etag(lambda _: '"v1"')(lambda _: HttpResponse("version 1")),
        "events": stream,
        "completion": stream,
        "poll": poll,
    }.items()
]
django = get_wsgi_application()


def app(environ, start_response):
    """gunicorn sends what an application returns, also to HEAD."""
    body = django(environ, start_response)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else body
