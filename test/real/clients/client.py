"""Python's urllib, or requests where it is named. Run by: python client.py LIST BASE…; LIBRARY is urllib or requests"""

import base64
import os
import sys
import urllib.error
import urllib.request


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


opener = urllib.request.build_opener(NoRedirects, urllib.request.ProxyHandler({}))


def by_urllib(method, url, headers, body, mode):
    data = body
    if mode == "chunked":
        data = iter([body])
    request = urllib.request.Request(url, data=data, headers=dict(headers), method=method)
    try:
        response = opener.open(request, timeout=20)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, response.headers.items(), response.read()


def by_requests(method, url, headers, body, mode):
    data = body
    if mode == "chunked":
        data = iter([body])
    session.cookies.clear()
    response = session.request(method, url, headers=dict(headers), data=data, allow_redirects=False, stream=True, timeout=20)
    content = response.raw.read(decode_content=False)
    return response.status_code, response.raw.headers.items(), content


if os.environ["LIBRARY"] == "requests":
    import requests

    session = requests.Session()
    session.trust_env = False
    send = by_requests
else:
    send = by_urllib


def encoded(data):
    return base64.b64encode(data).decode()


for index, base in enumerate(sys.argv[2:]):
    for line in open(sys.argv[1], encoding="utf-8"):
        name, method, path, fields, file, mode = line.rstrip("\n").split("\t")
        body = open(file, "rb").read() if file else None
        headers = [tuple(field.split(": ", 1)) for field in fields.split("|") if field]
        if mode == "expect":
            outcome = "skip\t" + encoded(b"this library cannot expect 100")
        else:
            try:
                status, pairs, content = send(method, base + path, headers, body, mode)
                head = "".join(f"{n}: {v}\n" for n, v in pairs)
                outcome = f"{status}\t{encoded(head.encode('latin-1'))}\t{encoded(content)}"
            except Exception as error:
                outcome = "error\t" + encoded(repr(error).encode())
        print(f"{index}\t{name}\t{outcome}", flush=True)
