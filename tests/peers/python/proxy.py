"""A CONNECT proxy of few words. A doorman, one for each connection, decides who may pass; each request is a line on stdout:

    PEER CONNECT TARGET CREDENTIALS STATUS
"""

import asyncio

PAGE = b"<html>Who are you?</html>"


class Request:
    """A request's head."""

    def __init__(self, head):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = first.split(" ")
        self.fields = {}
        for line in filter(None, lines):
            name, value = line.split(":", 1)
            self.fields[name.lower()] = value.strip()

    def credentials(self):
        """The scheme and the rest of Proxy-Authorization, or two empty strings."""
        scheme, _, rest = self.fields.get("proxy-authorization", "").partition(" ")
        return scheme, rest


def serve(port, doorman):
    """Serves until it is killed. A doorman has `note`, what to write of the credentials, `closes`, whether a refusal ends the
    connection, and `ask(request)`: None lets it pass, a list is what a 407 offers."""
    asyncio.run(_serve(port, doorman))


async def _serve(port, doorman):
    server = await asyncio.start_server(lambda r, w: _connection(r, w, doorman()), "10.2.0.2", port)
    print("listening on", port, flush=True)
    await server.serve_forever()


async def _connection(reader, writer, doorman):
    peer = "%s:%d" % writer.get_extra_info("peername")[:2]
    try:
        while True:
            request = Request(await reader.readuntil(b"\r\n\r\n"))
            offers = doorman.ask(request)
            status = 200 if offers is None else 407
            print(peer, request.method, request.target, doorman.note, status, flush=True)
            if offers is None:
                return await _tunnel(reader, writer, request.target)
            writer.write(_refusal(offers, doorman.closes))
            if doorman.closes:
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _refusal(offers, closes):
    fields = ["Proxy-Authenticate: " + offer for offer in offers]
    fields.append("Content-Length: %d" % len(PAGE))
    fields.append("Connection: close" if closes else "Proxy-Connection: keep-alive")
    return ("HTTP/1.1 407 Proxy Authentication Required\r\n" + "\r\n".join(fields) + "\r\n\r\n").encode() + PAGE


async def _tunnel(reader, writer, target):
    host, _, port = target.rpartition(":")
    far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        writer.close()
