"""A WebSocket client that checks what comes back: websocket_client.py URL"""

import secrets
import sys

from websockets.sync.client import connect

with connect(sys.argv[1], max_size=None, proxy=None, open_timeout=60, ping_interval=None) as socket:
    for message in ["hello", secrets.token_bytes(3_000_000), "", "good-bye"]:
        socket.send(message)
        assert socket.recv(timeout=60) == message
    assert socket.ping().wait(60), "no pong"
print("four messages and a pong came back, closed with", socket.close_code)
