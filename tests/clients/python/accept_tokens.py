"""Prints the subject of each access token that Authlib accepts (RFC 9068)."""

import json
import sys
from typing import Any
from urllib.request import urlopen

from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator


class Validator(JWTBearerTokenValidator):
    """Knows the keys of one service."""

    def __init__(self, jwks_uri: str, issuer: str, audience: str) -> None:
        super().__init__(issuer, audience)
        with urlopen(jwks_uri) as response:  # noqa: S310 - the gateway of the test
            self._keys = json.load(response)

    def get_jwks(self) -> Any:
        return self._keys


def main(jwks_uri: str, issuer: str, audience: str, *tokens: str) -> None:
    validator = Validator(jwks_uri, issuer, audience)
    for token in tokens:
        try:
            claims = validator.authenticate_token(token)
            validator.validate_token(claims, None, None)
            print(claims["sub"])
        except InvalidTokenError as error:
            print(f"refused: {error.__cause__}")


main(*sys.argv[1:])
