"""An origin that tells what reached it: origin.py ADDRESS PORT

    GET  /fields    the request line and the fields, as they came
    GET  /204, /304 a response without a body
    GET  /chunked   two chunks and a trailer
    GET  /hints     103 and then 200
    GET  /zeros/N   so many zero bytes
    POST /hash      the length and the SHA-256 of the body
    POST /early     413 before any of the body was read
"""

import hashlib
import http.server
import sys

CHUNK = 1 << 16


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path in ("/204", "/304"):
            self.send_response(int(self.path[1:]))
            self.end_headers()
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            self.wfile.write(b"4\r\nfour\r\n3\r\nsix\r\n0\r\nX-Sum: 7\r\n\r\n")
        elif self.path == "/hints":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
            self.answer(200, "hinted")
        elif self.path.startswith("/zeros/"):
            self.zeros(int(self.path.removeprefix("/zeros/")))
        else:
            self.answer(200, self.requestline + "\n" + str(self.headers))

    do_HEAD = do_GET

    def do_POST(self):
        if self.path == "/early":
            self.close_connection = True
            return self.answer(413, "too much", ("Connection", "close"))
        digest, length = hashlib.sha256(), 0
        for part in self.body():
            digest.update(part)
            length += len(part)
        self.answer(200, "%d %s" % (length, digest.hexdigest()))

    do_PUT = do_POST

    def handle_expect_100(self):
        print("expects", flush=True)
        return self.path == "/early" or super().handle_expect_100()

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self.exactly(int(self.headers.get("Content-Length", 0)))
            return
        while length := int(self.rfile.readline().split(b";")[0], 16):
            yield from self.exactly(length)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def exactly(self, left):
        while left:
            part = self.rfile.read(min(left, CHUNK))
            if not part:
                raise ConnectionError("the body ended early")
            left -= len(part)
            yield part

    def zeros(self, left):
        self.send_response(200)
        self.send_header("Content-Length", str(left))
        self.end_headers()
        while left and self.command != "HEAD":
            part = bytes(min(left, CHUNK))
            self.wfile.write(part)
            left -= len(part)

    def answer(self, status, text, *fields):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        for field in fields:
            self.send_header(*field)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, text, *values):
        print("%s:%d" % self.client_address[:2], text % values, flush=True)


server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Origin)
print("listening", flush=True)
server.serve_forever()
