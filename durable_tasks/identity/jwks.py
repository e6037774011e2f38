"""JWKS: fetching an issuer's keys over HTTP, within limits of time and size.

It must not know what is in the document. Blocking: it belongs in a thread.
"""

import time
from http.client import HTTPMessage
from typing import IO
from urllib.request import HTTPRedirectHandler, Request, build_opener

from durable_tasks.wording import without_credentials

TIMEOUT = 5.0
"""Seconds for the whole answer, however slowly it comes."""
LARGEST = 256 * 1024


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an error: it could lead from https to somewhere that anybody can answer for."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def fetch(url: str) -> bytes:
    """The document. Raises OSError, HTTPException, and ValueError when it is too large."""
    until = time.monotonic() + TIMEOUT
    request = Request(url, headers={"Accept": "application/jwk-set+json, application/json"})
    document = b""
    with build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as answer:
        while chunk := answer.read1(LARGEST):
            document += chunk
            if len(document) > LARGEST:
                raise ValueError(f"{without_credentials(url)} answers with more than {LARGEST} bytes")
            if time.monotonic() > until:
                raise TimeoutError(f"{without_credentials(url)} takes longer than {TIMEOUT:g} s")
    return document
