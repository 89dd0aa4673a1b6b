"""Addresses: http(s), s3 and gs, through aiohttp and fsspec; bounded in time and in bytes.

Credentials come from the environment (or an address itself) and are never shown.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import IO, Any, NoReturn, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from diascope.errors import ImageError, ManifestError, MissingExtraError, UnreadableReason

SECONDS = 60.0
"""Longest time that one try of one address may take."""
PAUSES = (0.5, 2.0)
"""Seconds before the second and the third try, after an answer that may change."""

_PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "gs": "gcsfs",
    "memory": "fsspec",
}
_MANIFEST_BYTES = 2**32
_SECRET = re.compile(
    "signature|credential|token|secret|password|key|^(sig|auth|authorization|passwd|pwd|jwt|hmac)$",
    re.IGNORECASE,
)
_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")
_PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])


def is_address(text: str) -> bool:
    """Whether a name has a scheme, such as ``https://``."""
    return _ADDRESS.match(text) is not None


def redacted(text: str) -> str:
    """An address as it may be shown: no user, no password, no signature; other names as they are.

    >>> redacted("https://me:word@host/a.jpg?size=2&X-Amz-Signature=5f")
    'https://host/a.jpg?size=2&X-Amz-Signature=***'
    """
    if not is_address(text):
        return text
    try:
        parts = urlsplit(text)
        asked = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return f"{text.partition('://')[0]}://***"
    if "@" not in parts.netloc and not any(_SECRET.search(name) for name, _ in asked):
        return text
    shown = [(name, "***" if _SECRET.search(name) else value) for name, value in asked]
    bare = parts._replace(
        netloc=parts.netloc.rpartition("@")[2], query=urlencode(shown, safe="*/:,")
    )
    return bare.geturl()


@dataclass(frozen=True, slots=True)
class Address:
    """A file in a store or behind a web server."""

    url: str

    def __repr__(self) -> str:
        return f"Address({redacted(self.url)!r})"

    @property
    def scheme(self) -> str:
        """What stands before ``://``, in lower case."""
        return self.url.partition("://")[0].lower()

    def check(self) -> None:
        """Refuse before the work what this installation cannot read.

        Raises:
            MissingExtraError: its package is not installed.
        """
        if self.scheme in _PACKAGES:
            _package(self.scheme)

    def fetch(self, max_bytes: int) -> bytes:
        """The bytes of the file; a store or server that is busy is asked three times.

        Raises:
            ImageError: it cannot be read, with the reason.
            MissingExtraError: its package is not installed.
        """
        read = self._reader()
        for pause in PAUSES:
            try:
                return read(max_bytes)
            except _PassingError as error:
                time.sleep(max(pause, error.wait))
        try:
            return read(max_bytes)
        except _PassingError as error:
            self._refuse(UnreadableReason.NETWORK, f"{error}; run again later")

    def open(self) -> IO[bytes]:
        """The whole file in memory, for manifests.

        Raises:
            ManifestError: it cannot be read.
        """
        try:
            return BytesIO(self.fetch(_MANIFEST_BYTES))
        except ImageError as error:
            raise ManifestError(f"{error.name}: {error.detail}") from None

    def files(self) -> Iterator[str]:
        """Addresses of the files below this one, sorted; a glob's where it holds a ``*``.

        Raises:
            ManifestError: it cannot be listed.
        """
        store = self._store()
        path = store._strip_protocol(self.url)
        try:
            names = store.glob(path) if "*" in path else store.find(path)
        except Exception as error:  # noqa: BLE001 each store has errors of its own
            raise ManifestError(
                f"{redacted(self.url)}: cannot be listed ({type(error).__name__})"
            ) from None
        return (store.unstrip_protocol(name) for name in sorted(names))

    def _store(self) -> Any:
        fsspec = _package(self.scheme)
        return fsspec.filesystem(self.scheme)

    def _reader(self) -> Callable[[int], bytes]:
        if self.scheme in ("http", "https"):
            return self._read_http
        if self.scheme in _PACKAGES:
            return self._read_store
        known = ", ".join(_PACKAGES)
        self._refuse(
            UnreadableReason.UNSUPPORTED, f"addresses of this kind are not read; give {known}"
        )

    def _read_http(self, max_bytes: int) -> bytes:
        _package(self.scheme)
        asyn, aiohttp = import_module("fsspec.asyn"), import_module("aiohttp")
        web = import_module("fsspec").filesystem("http", client_kwargs={"trust_env": True})
        try:
            body: bytes = asyn.sync(web.loop, self._get, web, max_bytes)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.InvalidURL):
                self._refuse(UnreadableReason.MISSING, "this is no address; correct it")
            raise _PassingError(_words(error)) from None
        return body

    async def _get(self, web: Any, max_bytes: int) -> bytes:
        session = await web.set_session()
        asked = {"Accept-Encoding": "identity"}  # a length that can be checked, nothing to unpack
        async with asyncio.timeout(SECONDS), session.get(self.url, headers=asked) as answer:
            self._check(answer)
            if (answer.content_length or 0) > max_bytes:
                self._refuse_size(max_bytes)
            body = bytearray()
            async for piece in answer.content.iter_chunked(2**16):
                body += piece
                if len(body) > max_bytes:
                    self._refuse_size(max_bytes)
            return bytes(body)

    def _check(self, answer: Any) -> None:
        status = answer.status
        if status in _PASSING:
            wait = str(answer.headers.get("Retry-After", ""))
            raise _PassingError(
                f"the server answers {status}", min(int(wait), 10) if wait.isdecimal() else 0
            )
        if status in (404, 410):
            self._refuse(UnreadableReason.MISSING, f"the server has no such file ({status})")
        if status in (401, 403, 407):
            self._refuse(UnreadableReason.FORBIDDEN, f"the server refuses ({status}); ask for it")
        if status != 200:
            self._refuse(UnreadableReason.NETWORK, f"the server answers {status}; run again later")

    def _read_store(self, max_bytes: int) -> bytes:
        store = self._store()
        try:
            # One byte more than allowed, so that the bound shows.
            body = _bounded(store, store._strip_protocol(self.url), max_bytes + 1)
        except (FileNotFoundError, IsADirectoryError):
            self._refuse(UnreadableReason.MISSING, "the store has no such file; check the address")
        except PermissionError:
            self._refuse(UnreadableReason.FORBIDDEN, "the store refuses; give credentials for it")
        except Exception as error:  # noqa: BLE001 each store has errors of its own
            raise _PassingError(_words(error)) from None
        if len(body) > max_bytes:
            self._refuse_size(max_bytes)
        return body

    def _refuse_size(self, max_bytes: int) -> NoReturn:
        detail = f"the file has more than {max_bytes:,} bytes; save the picture smaller"
        self._refuse(UnreadableReason.TOO_LARGE, detail)

    def _refuse(self, reason: UnreadableReason, detail: str) -> NoReturn:
        raise ImageError(reason, redacted(self.url), detail) from None


class _PassingError(Exception):
    """A failure that another try may mend; ``wait``: seconds the server asks for."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.wait = wait


def _words(error: BaseException) -> str:
    # Only the kind of error: its text may hold the address with all its secrets.
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"no whole answer within {SECONDS:g} seconds"
    return f"the connection failed or was cut off ({type(error).__name__})"


def _bounded(store: Any, path: str, end: int) -> bytes:
    """The first bytes of a store's file, within ``SECONDS`` where the store can be left waiting."""
    if not store.async_impl:
        return cast(bytes, store.cat_file(path, start=0, end=end))
    sync = import_module("fsspec.asyn").sync
    body = sync(store.loop, store._cat_file, path, start=0, end=end, timeout=SECONDS)
    return cast(bytes, body)


def _package(scheme: str) -> Any:
    """fsspec, once the package for the scheme is known to be there."""
    try:
        import_module(_PACKAGES[scheme])
        return import_module("fsspec")
    except ImportError:
        raise MissingExtraError(
            f"{scheme}:// needs packages that are not installed:\npip install 'diascope[cloud]'"
        ) from None
