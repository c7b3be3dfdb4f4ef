"""A helper of squid's that verifies NTLMv2: what Samba's ntlm_auth does, without a domain. NTLM_USER_FILE holds who may pass."""

import base64
import sys

import spnego
from spnego.exceptions import SpnegoError

acceptor = None
for line in sys.stdin:
    kind, _, token = line.strip().partition(" ")
    try:
        token = base64.b64decode(token)
        if kind == "YR":
            acceptor = spnego.server(protocol="ntlm")
            reply = "TT " + base64.b64encode(acceptor.step(token)).decode()
        else:
            acceptor.step(token)
            reply = "AF " + acceptor.client_principal
    except (SpnegoError, AttributeError, ValueError) as why:
        reply = ("BH " if kind == "YR" else "NA ") + repr(why)
    print(reply, flush=True)
