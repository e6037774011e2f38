"""Assets: what is the same for everybody, sent whole, zipped, or not again when the browser has it already.

It must not know what is in them.
"""

import gzip
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response


class Asset(NamedTuple):
    """One file, as it is sent."""

    content: bytes
    zipped: bytes | None
    tag: str
    media_type: str

    @classmethod
    def of(cls, content: bytes, media_type: str, zipped: bytes | None) -> "Asset":
        return cls(content, zipped, f'"{hashlib.sha256(content).hexdigest()[:32]}"', media_type)

    @classmethod
    def made(cls, text: str, media_type: str) -> "Asset":
        """Of what is made here, once."""
        content = text.encode()
        return cls.of(content, media_type, gzip.compress(content, mtime=0))

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        said = {**headers, "Vary": "Accept-Encoding", "ETag": self.tag}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=said)
        if self.zipped is None or not _takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(self.content, media_type=self.media_type, headers=said)
        # Another tag than of the plain bytes, weak: the same file, said otherwise.
        said |= {"ETag": f"W/{self.tag}", "Content-Encoding": "gzip"}
        return Response(self.zipped, media_type=self.media_type, headers=said)


def _takes_gzip(said: str) -> bool:
    """Whether the header Accept-Encoding names gzip, other than to refuse it."""
    for part in said.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
