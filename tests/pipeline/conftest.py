"""An S3 server of our own for the tests of a session, behind a proxy that can spoil requests to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import pytest

from tests.pipeline.processes import Proxy, s3_environment, s3_server


@dataclass(frozen=True)
class S3:
    """The server, through `proxy`; `files` speaks to it; `folder` is a new one, as a URL without a slash at its end."""

    proxy: Proxy
    files: Any
    folder: str
    environment: dict[str, str]

    def objects(self, below: str = "", *wanted: str) -> dict[str, bytes]:
        """Return what lies below a folder of the test's own: name → content; of names that begin as wanted, if any is."""
        root = f"{self.folder.removeprefix('s3://')}/{below}".rstrip("/") + "/"
        names = [path.removeprefix(root) for path in self.files.find(root)]
        found = self.files.cat([root + name for name in names if name.startswith(wanted or "")])
        return {path.removeprefix(root): data for path, data in found.items()}


@pytest.fixture(scope="session")
def s3_session(tmp_path_factory) -> Iterator[tuple[Proxy, dict[str, str]]]:
    pytest.importorskip("s3fs", reason="needs the extra [s3]")
    pytest.importorskip("moto", reason="needs the extra [dev]")
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as found, pytest.MonkeyPatch.context() as patch:
        proxy = Proxy(int(found["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
        for name, value in s3_environment(f"http://127.0.0.1:{proxy.port}").items():
            patch.setenv(name, value)
        patch.setenv("AWS_MAX_ATTEMPTS", "2")  # what is tried again and again would take a test minutes
        yield proxy, found
        proxy.close()


@pytest.fixture
def s3(s3_session, request) -> Iterator[S3]:
    """A new folder on an S3 server, on which no request is spoilt yet."""
    proxy, environment = s3_session
    files = fsspec.filesystem("s3", use_listings_cache=False)
    yield S3(proxy, files, f"s3://corpora/{abs(hash(request.node.nodeid)):x}", environment)
    proxy.faults.clear()
    proxy.met.clear()
