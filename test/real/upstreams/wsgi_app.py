"""A WSGI application, for gunicorn. Its prefix is in the environment variable PREFIX."""

import gzip
import hashlib
import json
import os
import time

PREFIX = os.environ.get("PREFIX", "")


def headers_of(environ):
    names = {name: name[5:].replace("_", "-").lower() for name in environ if name.startswith("HTTP_")}
    return {lower: environ[name] for name, lower in names.items()}


def app(environ, start_response):
    path = environ["PATH_INFO"].removeprefix(PREFIX)
    method = environ["REQUEST_METHOD"]

    def answer(status, body=b"", *headers):
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
        # gunicorn sends what an application returns, also to HEAD
        return [] if method == "HEAD" else [body]

    def parts(kind, *list_of_parts):
        start_response("200 OK", [("Content-Type", kind)])
        for part in list_of_parts:
            yield part
            time.sleep(0.005)

    if path in ("/small", "/echo"):
        digest = hashlib.sha256(environ["wsgi.input"].read()).hexdigest() if path == "/echo" else ""
        seen = {"method": method, "url": environ["RAW_URI"], "sha256": digest, "headers": headers_of(environ)}
        return answer("200 OK", json.dumps(seen).encode())
    if path == "/large":
        return answer("200 OK", b"0123456789abcdef" * 62500)
    if path == "/empty":
        return answer("200 OK")
    if path == "/none":
        start_response("204 No Content", [])
        return []
    if path == "/chunked":
        return parts("text/plain", b"one ", b"two ", b"three")
    if path == "/events":
        return parts("text/event-stream", b"data: 1\n\n", b"data: 2\n\n")
    if path == "/completion":
        environ["wsgi.input"].read()
        return parts("text/event-stream", b'data: {"token":"a"}\n\n', b"data: [DONE]\n\n")
    if path == "/redirect":
        return answer("302 Found", b"", ("Location", PREFIX + "/small"))
    if path == "/cookies":
        return answer("200 OK", environ.get("HTTP_COOKIE", "").encode(), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"))
    if path == "/etag":
        if environ.get("HTTP_IF_NONE_MATCH") == '"v1"':
            start_response("304 Not Modified", [("ETag", '"v1"')])
            return []
        return answer("200 OK", b"version 1", ("ETag", '"v1"'))
    if path == "/range":
        return answer("206 Partial Content", b"2345", ("Content-Range", "bytes 2-5/10"))
    if path == "/gzip":
        return answer("200 OK", gzip.compress(b"compressed " * 100, mtime=0), ("Content-Encoding", "gzip"))
    if path == "/early":
        return answer("413 Payload Too Large", b"too large", ("Connection", "close"))
    if path == "/poll":
        time.sleep(0.2)
        return answer("200 OK", b"at last")
    return answer("500 Internal Server Error" if path == "/status/500" else "404 Not Found", b"a status")
