"""Passwords, as far as they get: to the digest that the database hashes."""

from __future__ import annotations

import base64
import hmac
import unicodedata


def normalize(password: str) -> str:
    """Unicode NFC, so that one password typed on two keyboards is one password."""
    return unicodedata.normalize("NFC", password)


def digest(pepper: str, password: str) -> str:
    """base64(hmac-sha384(pepper, NFC(password))): 64 characters, below bcrypt's limit of 72 bytes.

    The database and its logs never see the password, and a stolen table of hashes cannot be
    attacked without the pepper.
    """
    mac = hmac.digest(pepper.encode(), normalize(password).encode(), "sha384")
    return base64.b64encode(mac).decode()
