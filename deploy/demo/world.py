#!/usr/bin/env python3
"""What lies beyond a gateway, in one small program: a proxy that knows CONNECT and nothing else, and a web site.

    world.py CERTIFICATE KEY

The proxy listens on port 3128; the site on 80, and on 443 with that certificate. Each request is told in one line on
stdout, "ready" is the first. Made for deploy/quickstart and the tests: it serves whoever asks, so never run it elsewhere.
"""

import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONNECT_TIME = 5  # seconds that a tunnel may take to open
CHUNK = 65536


def tell(line):
    # one write, so that lines of two threads never mix
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Listener(ThreadingHTTPServer):
    """Serves IPv6, and IPv4 through the same socket; IPv4 alone where there is no IPv6."""

    daemon_threads = True

    def __init__(self, port, handler, context=None):
        self.context = context
        try:
            self.address_family = socket.AF_INET6
            super().__init__(("::", port), handler)
        except OSError:
            self.address_family = socket.AF_INET
            super().__init__(("", port), handler)
        if context is not None:
            # the handshake is left to the first read, in the connection's own thread
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # not HTTPServer's own, which asks for this machine's name
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def handle_error(self, request, client_address):
        tell(f"site: from {shown(client_address)}: {sys.exc_info()[1]}")


class Proxy(BaseHTTPRequestHandler):
    """The proxy. Whatever is not CONNECT is answered with 405, as some companies' proxies do."""

    def do_CONNECT(self):
        host, _, port = self.path.rpartition(":")
        try:
            origin = socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIME)
        except (OSError, ValueError) as why:
            self.refuse(502, str(why))
            return
        self.tell("200")
        with origin:
            origin.settimeout(None)
            self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(origin, self.connection), daemon=True)
            back.start()
            pump(self.connection, origin)
            back.join()
        self.close_connection = True

    def do_GET(self):
        self.refuse(405, "only CONNECT is allowed here")

    do_HEAD = do_POST = do_PUT = do_GET

    def refuse(self, status, why):
        self.tell(f"{status} {why}")
        self.send_error(status, why)

    def tell(self, answer):
        tell(f"proxy: {self.requestline} from {shown(self.client_address)}: {answer}")

    def log_message(self, *_):
        pass


class Site(BaseHTTPRequestHandler):
    """The site: says who was asked, and how."""

    def do_GET(self):
        scheme = "http" if self.server.context is None else "https"
        text = f"This is {self.headers['Host']}, reached over {scheme}.\n"
        tell(f"site: {scheme} {self.requestline} for {self.headers['Host']}: 200")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def pump(source, sink):
    """One direction of a tunnel, its end passed on."""
    try:
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # one side is gone: so is the other
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def shown(address):
    return address[0].removeprefix("::ffff:")


def main():
    certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listeners = [Listener(3128, Proxy), Listener(80, Site), Listener(443, Site, context)]
    tell("ready")
    for listener in listeners:
        threading.Thread(target=listener.serve_forever).start()


if __name__ == "__main__":
    main()
