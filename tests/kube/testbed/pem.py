"""A fresh private key for signing service-account tokens, without a program or package for it.

A P-256 private key is a random number below the curve's order in a fixed frame (RFC 5915); Go derives the public half.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256 = bytes.fromhex("a00a06082a8648ce3d030107")


def write_signing_key(path: Path) -> None:
    scalar = (1 + secrets.randbelow(_ORDER - 1)).to_bytes(32, "big")
    fields = b"\x02\x01\x01" + b"\x04\x20" + scalar + _P256
    text = base64.b64encode(bytes([0x30, len(fields)]) + fields).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    path.touch(mode=0o600)
    path.write_text("\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""]))
