"""A CONNECT proxy that wants NTLM and verifies NTLMv2: ntlm_proxy.py PORT none|bare|every

The second word is which 407s end the connection: none, those that carry no challenge, or every one. NTLM_USER_FILE holds who
may pass, as DOMAIN:USER:PASSWORD.
"""

import base64
import sys

import spnego
from spnego.exceptions import SpnegoError

import proxy


class Doorman:
    """NTLM belongs to a connection, and so does its acceptor."""

    def __init__(self):
        self.closes = False
        self.note = ""
        self.acceptor = None

    def ask(self, request):
        self.closes = sys.argv[2] != "none"
        scheme, token = request.credentials()
        if scheme.upper() not in ("NTLM", "NEGOTIATE"):
            self.note = scheme or "none"
            return ["NTLM"]
        token = base64.b64decode(token)
        kind = token[8]
        self.note = "type%d" % kind
        if kind == 1:
            self.acceptor = spnego.server(protocol="ntlm")
            self.closes = sys.argv[2] == "every"
            return ["NTLM " + base64.b64encode(self.acceptor.step(token)).decode()]
        try:
            # a type 3 on another connection finds no acceptor
            self.acceptor.step(token)
        except (SpnegoError, AttributeError) as why:
            print("refused:", repr(why), flush=True)
            self.acceptor = None
            return ["NTLM"]
        self.note += " " + self.acceptor.client_principal
        return None


proxy.serve(int(sys.argv[1]), Doorman)
