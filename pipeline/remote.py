"""Files behind a URL: the one place that opens `s3://` and the like, through fsspec.

Where they are and who we are is said by the environment, as every tool of that storage reads it: for S3 the variables
`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION`, `AWS_PROFILE`. See docs/cluster.md.
"""

from __future__ import annotations

import io
import os
import posixpath
from typing import Any

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Which of our extras brings what a protocol needs."""


class RemoteError(OSError):
    """Storage behind a URL that cannot be used: says which, and what it answered."""


def is_url(path: str) -> bool:
    return "://" in path


def filesystem(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path on it. Raises RemoteError where nothing speaks its protocol.

    Listings are not cached: other processes write while we look.
    """
    import fsspec.core  # what is only local does not pay for it

    try:
        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        protocol = url.split("://")[0]
        more = f"; `pip install 'corpusmill[{EXTRAS[protocol]}]'` brings it" if protocol in EXTRAS else ""
        raise RemoteError(f"{url}: {said(error)}{more}") from None
    return files, path


def fetch(url: str) -> bytes:
    """Return what a file behind a URL holds. Raises RemoteError where it cannot be read."""
    files, path = filesystem(url)
    try:
        data: bytes = files.cat_file(path)
    except FileNotFoundError:
        raise RemoteError(f"{url}: no such file") from None
    except Exception as error:  # every storage has exceptions of its own
        raise RemoteError(f"{url}: cannot be read: {said(error)}") from error
    return data


def said(error: BaseException) -> str:
    """Return what went wrong as one line: storage says it in many ways."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def parent(url: str) -> str:
    """Return the folder that a URL lies in."""
    return url.rpartition("/")[0]


def located(base: str, path: str) -> str:
    """Return a path as one that can be opened: a relative one starts at `base`, a folder or a URL.

    In a URL `..` goes up, but not out of the bucket.
    """
    if is_url(path) or os.path.isabs(path):
        return path
    if not is_url(base):
        return os.path.join(base, path)
    protocol, _, rest = base.partition("://")
    root, _, folder = rest.partition("/")
    return f"{protocol}://{root}{posixpath.normpath(posixpath.join('/', folder, path))}"


class Reading(io.RawIOBase):
    """A remote file, read. What its storage fails to give is a `fault`: no reader shall take it for a broken record."""

    def __init__(self, url: str, file: Any, fault: type[Exception]) -> None:
        self._url, self._file, self._fault = url, file, fault

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        try:
            data: bytes = self._file.read(-1 if size is None else size)
        except Exception as error:  # every storage has exceptions of its own
            raise self._fault(f"{self._url}: cannot be read: {said(error)}") from error
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
