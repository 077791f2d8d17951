"""Python's http.server, with files and a few methods. Run by: python http_server.py PORT PREFIX FOLDER"""

import http.server
import json
import os
import sys

PORT, PREFIX, FOLDER = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args):
        super().__init__(*args, directory=FOLDER)

    def do_GET(self):
        self.path = self.path.removeprefix(PREFIX)
        if self.path.startswith("/large"):
            self.path = "/large upload"
        if self.path.startswith("/events"):
            return self.stream()
        super().do_GET()

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while (size := int(self.rfile.readline(), 16)) > 0:
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"method": self.command, "url": self.path, "headers": fields}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_PATCH = do_DELETE = do_POST

    def stream(self):
        """Its end is the end of the connection."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: 1\n\ndata: 2\n\n")

    def log_message(self, *_):
        pass


os.makedirs(FOLDER, exist_ok=True)
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
