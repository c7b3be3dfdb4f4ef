"""A WebSocket server that says everything again: websocket_echo.py ADDRESS PORT"""

import sys

from websockets.sync.server import serve


def echo(socket):
    for message in socket:
        socket.send(message)


with serve(echo, sys.argv[1], int(sys.argv[2]), max_size=None, open_timeout=60, ping_interval=None) as server:
    print("listening", flush=True)
    server.serve_forever()
