"""Files by HTTP: several at once, resumed where cut off, checked before they get their name.

A file under way is NAME.part, with what names its version in NAME.part.tag; it becomes NAME when
all of it is there and the check is passed. A later run asks only for what has no NAME, from the
byte where NAME.part ends (RFC 9110, sections 13.1.5 and 14).
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import NoReturn
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.response import BaseHTTPResponse

from diascope.errors import OutputError
from diascope.progress import Track, silent

_AGENT = "diascope (research software)"
_CHUNK = 1 << 16
_REDIRECTS = 5
_STEPS = {("http", "http"), ("http", "https"), ("https", "https")}
"""Schemes that a redirect may lead from and to."""
_BUSY = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may pass; every other one above 299 ends a file."""


@dataclass(frozen=True)
class Wanted:
    """A file to get: where from, its name in the folder, and the most bytes it may have."""

    address: str
    name: str
    most_bytes: int


class Status(StrEnum):
    """What became of a file."""

    FETCHED = "fetched"
    PRESENT = "present"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """A file and what became of it; ``reason`` says why it failed."""

    wanted: Wanted
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Patience:
    """How often a file is tried, and the seconds between: doubled each time, or as the server says.

    A server that wants to be left alone for more than ``longest`` seconds is: the file fails. One
    that gave no answer ``silences`` times running is not asked again in this run.
    """

    attempts: int = 5
    first: float = 1.0
    longest: float = 120.0
    timeout: float = 30.0
    silences: int = 12


Check = Callable[[Path], str | None]
"""Looks at a whole file; says what is wrong with it, or None."""


class _PassingError(Exception):
    """May be gone at the next attempt; ``wait`` in seconds where the server gave one."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _FinalError(Exception):
    """No attempt will help."""


class _Stopped(Exception):  # noqa: N818 no error of this file: another one ended the run
    pass


def download(
    wanted: Sequence[Wanted],
    folder: Path,
    *,
    check: Check,
    connections: int = 4,
    patience: Patience | None = None,
    description: str = "fetching",
    track: Track = silent,
) -> list[Outcome]:
    """Get files that are not there yet; the outcomes stand in the order of ``wanted``.

    Raises:
        OutputError: the disk is full or cannot be written; what is there stays for the next run.
    """
    missing = [item for item in wanted if not (folder / item.name).exists()]
    worker = _Worker(folder, check, connections, patience or Patience())
    found: dict[Wanted, Outcome] = {}
    with ThreadPoolExecutor(connections) as pool:
        futures = [pool.submit(worker.get, item) for item in missing]
        try:
            for outcome in track(_as_done(futures), description, len(futures)):
                found[outcome.wanted] = outcome
        finally:
            worker.stop.set()
            pool.shutdown(cancel_futures=True)
    return [found.get(item) or Outcome(item, Status.PRESENT) for item in wanted]


def _as_done(futures: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
    left = set(futures)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


class _Worker:
    """Gets one file at a time in each of its threads."""

    def __init__(self, folder: Path, check: Check, connections: int, patience: Patience) -> None:
        self.stop = Event()
        self._folder, self._check, self._patience = folder, check, patience
        self._connections = connections
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._quiet: dict[str, float] = {}  # host -> when it may be asked again
        self._silences: Counter[str] = Counter()  # host -> times running without an answer
        self._lock = Lock()

    def get(self, wanted: Wanted) -> Outcome:
        """Try a file as often as patience has it."""
        file = self._folder / wanted.name
        reason = "not tried"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for attempt in range(self._patience.attempts):
                try:
                    self._attempt(wanted, file)
                    return Outcome(wanted, Status.FETCHED)
                except _PassingError as error:
                    reason = str(error)
                    if not self._may_wait(wanted, attempt, error.wait):
                        break
        except _FinalError as error:
            reason = str(error)
        except ValueError as error:  # what urlsplit makes of a broken address
            reason = f"no address: {error}"
        except _Stopped:
            reason = "the run was stopped"
        except OSError as error:
            self.stop.set()
            _cannot_write(file, error)
        return Outcome(wanted, Status.FAILED, reason)

    def _may_wait(self, wanted: Wanted, attempt: int, asked: float | None) -> bool:
        """Note until when the host is left alone; False where that is too long, or all is tried."""
        seconds = self._patience.first * 2**attempt if asked is None else asked
        if seconds > self._patience.longest or attempt + 1 == self._patience.attempts:
            return False
        host = urlsplit(wanted.address).netloc
        with self._lock:
            self._quiet[host] = max(self._quiet.get(host, 0.0), monotonic() + seconds)
        return True

    def _wait_for(self, host: str) -> None:
        with self._lock:
            until = self._quiet.get(host, 0.0)
        if self.stop.wait(max(0.0, until - monotonic())) or self.stop.is_set():
            raise _Stopped

    def _attempt(self, wanted: Wanted, file: Path) -> None:
        part, tag = file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.part.tag")
        have, version = _left_over(part, tag)
        self._wait_for(urlsplit(wanted.address).netloc)
        response = self._answer(wanted.address, _headers(have, version))
        try:
            start = _start(response, have, part)
            if not start:
                _note_version(response, tag)
            self._receive(response, part, start, wanted.most_bytes)
        finally:
            _close(response)
        self._name(part, tag, file, is_all=_says_its_length(response))

    def _answer(self, address: str, headers: dict[str, str]) -> BaseHTTPResponse:
        """Follow redirects, never from https down, to what is neither refused nor busy."""
        for _ in range(_REDIRECTS + 1):
            response = self._ask(address, headers)
            if response.status < 300 or response.status == 416:
                return response
            location = response.headers.get("Location")
            _close(response)
            if not (300 <= response.status < 400 and location):
                _refuse(response)
            target = urljoin(address, location)
            if (urlsplit(address).scheme, urlsplit(target).scheme) not in _STEPS:
                raise _FinalError(f"redirected to another scheme, not followed: {target[:200]}")
            address = target
        raise _FinalError(f"more than {_REDIRECTS} redirects")

    def _ask(self, address: str, headers: dict[str, str]) -> BaseHTTPResponse:
        if urlsplit(address).scheme not in ("http", "https"):
            raise _FinalError("an address that is neither http nor https")
        host = urlsplit(address).netloc
        if self._silences[host] >= self._patience.silences:
            raise _FinalError(f"{host} does not answer; run it again later")
        try:
            response = self._pool(address).request(
                "GET",
                address,
                headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers},
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(self._patience.timeout),
            )
        except urllib3.exceptions.LocationValueError as error:
            raise _FinalError(f"no address: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            with self._lock:
                self._silences[host] += 1
            raise _PassingError(f"no answer: {_brief(error)}") from error
        self._silences.pop(host, None)
        return response

    def _pool(self, address: str) -> urllib3.PoolManager:
        """Connections straight to the host, or through the proxy that the environment names."""
        parts = urlsplit(address)
        proxy = getproxies().get(parts.scheme, "")
        if proxy and proxy_bypass(parts.hostname or ""):
            proxy = ""
        with self._lock:
            if proxy not in self._pools:
                kind = partial(urllib3.ProxyManager, proxy) if proxy else urllib3.PoolManager
                self._pools[proxy] = kind(maxsize=self._connections, block=True)
            return self._pools[proxy]

    def _receive(self, response: BaseHTTPResponse, part: Path, start: int, most: int) -> None:
        """Append to the part what comes, from ``start`` on."""
        with part.open("r+b" if start else "wb") as stream:
            if start:
                stream.truncate(start)
                stream.seek(start)
            for chunk in _chunks(response):
                if self.stop.is_set():
                    raise _Stopped
                if stream.tell() + len(chunk) > most:
                    raise _FinalError(f"more than {most:,} bytes")
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())

    def _name(self, part: Path, tag: Path, file: Path, *, is_all: bool) -> None:
        """Check what arrived; a file that fails its check is not kept.

        Where the server does not say how much it sends, it may have been cut off unseen.
        """
        wrong = self._check(part)
        if wrong is None:
            part.replace(file)
            tag.unlink(missing_ok=True)
            return
        part.unlink()
        tag.unlink(missing_ok=True)
        raise _FinalError(wrong) if is_all else _PassingError(wrong)


def _left_over(part: Path, tag: Path) -> tuple[int, str]:
    """Bytes of an earlier attempt and the version they are of; none without a version."""
    if not (part.is_file() and tag.is_file()):
        return 0, ""
    version = tag.read_text(encoding="utf-8")
    return (part.stat().st_size, version) if version else (0, "")


def _headers(have: int, version: str) -> dict[str, str]:
    return {"Range": f"bytes={have}-", "If-Range": version} if have else {}


def _note_version(response: BaseHTTPResponse, tag: Path) -> None:
    """Keep what names these bytes: a strong ETag, or the date of the last change."""
    etag = response.headers.get("ETag", "")
    strong = etag if etag.startswith('"') else ""
    tag.write_text(strong or response.headers.get("Last-Modified", ""), encoding="utf-8")


def _start(response: BaseHTTPResponse, have: int, part: Path) -> int:
    """Where in the file the answer begins: 0 for all of it.

    A part that the server does not go on with is thrown away.
    """
    if response.status == 200:
        return 0
    told = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status == 206 and have and told and int(told[1]) == have:
        return have
    part.unlink(missing_ok=True)
    raise _PassingError(f"status {response.status} for the rest of the file", wait=0.0)


def _close(response: BaseHTTPResponse) -> None:
    response.close()
    response.release_conn()  # else the pool waits for it for ever


def _says_its_length(response: BaseHTTPResponse) -> bool:
    return "Content-Length" in response.headers or "Transfer-Encoding" in response.headers


def _chunks(response: BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:  # an IncompleteRead too
        raise _PassingError(f"cut off: {_brief(error)}") from error


def _refuse(response: BaseHTTPResponse) -> NoReturn:
    reason = f"status {response.status} {response.reason or ''}".strip()
    if response.status not in _BUSY:
        raise _FinalError(reason)
    raise _PassingError(reason, _seconds(response.headers.get("Retry-After", "")))


def _seconds(retry_after: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date - datetime.now(date.tzinfo or UTC)).total_seconds())


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _cannot_write(file: Path, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise OutputError(
            f"{file.parent}: the disk is full; free some space and run the same command again: "
            "it goes on where it stopped"
        ) from error
    raise OutputError(f"{file}: cannot be written: {error.strerror or error}") from error
