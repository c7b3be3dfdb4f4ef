"""A CONNECT proxy that wants Digest by RFC 7616 with SHA-256, and offers MD5 after it: digest_proxy.py PORT USER PASSWORD

A nonce is good for three requests, whose counts must go up; then it is stale.
"""

import hashlib
import re
import secrets
import sys

import proxy

REALM = "bench"
COUNTS = {}


class Doorman:
    closes = False

    def ask(self, request):
        scheme, rest = request.credentials()
        self.note = scheme or "none"
        if scheme.lower() != "digest":
            return offers()
        given = {k: quoted or plain for k, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', rest)}
        self.note = " ".join(["digest", given.get("algorithm", "MD5"), given.get("nc", "-")])
        nonce, count = given["nonce"], int(given["nc"], 16)
        if nonce not in COUNTS or COUNTS[nonce] >= 3:
            return offers(", stale=true")
        if count != COUNTS[nonce] + 1 or given["response"] != answer(request, given):
            return offers()
        COUNTS[nonce] = count
        return None


def answer(request, given):
    digest = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}[given.get("algorithm", "MD5")]
    hashed = lambda *words: digest(":".join(words).encode()).hexdigest()
    assert given["uri"] == request.target and given["realm"] == REALM and given["username"] == sys.argv[2], given
    first = hashed(sys.argv[2], REALM, sys.argv[3])
    return hashed(first, given["nonce"], given["nc"], given["cnonce"], "auth", hashed(request.method, request.target))


def offers(more=""):
    nonce = secrets.token_hex(16)
    COUNTS[nonce] = 0
    line = 'Digest realm="%s", qop="auth", algorithm=%s, nonce="%s"%s'
    return [line % (REALM, algorithm, nonce, more) for algorithm in ("SHA-256", "MD5")]


proxy.serve(int(sys.argv[1]), Doorman)
