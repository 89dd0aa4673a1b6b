import asyncio
import io
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diascope import Predictor
from diascope.errors import ImageError, ManifestError, MissingExtraError
from diascope.image import Limits
from diascope.scoring import SpooledInputs, score_inputs, source_inputs
from diascope.scoring import remote as module
from diascope.scoring.remote import Address, redacted

pytest.importorskip("aiohttp")
fsspec = pytest.importorskip("fsspec")
AsyncFileSystem = pytest.importorskip("fsspec.asyn").AsyncFileSystem


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    """A server of good pictures and of every way in which one does not come."""

    asked: ClassVar[Counter] = Counter()

    def do_GET(self):
        name = self.path.partition("?")[0].strip("/")
        self.asked[name] += 1
        kind, _, rest = name.partition("/")
        getattr(self, f"give_{kind}")(rest)

    def give(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def give_good(self, rest):
        self.give(picture(int(rest.removesuffix(".png"))))

    def give_late(self, rest):
        time.sleep(0.5)
        self.give_good(rest)

    def give_status(self, rest):
        self.give(b"", int(rest.partition(".")[0]))

    def give_busy(self, rest):
        """500, then 429, then the picture."""
        count = self.asked[f"busy/{rest}"]
        self.give_good(rest) if count > 2 else self.give(b"", 500 if count == 1 else 429)

    def give_cut(self, rest):
        body = picture(1)
        self.give(body[: len(body) // 2], length=len(body))
        self.close_connection = True

    def give_moved(self, rest):
        self.give(b"", 302, Location="/good/4.png")

    def give_slow(self, rest):
        self.give(b"\x89PNG", length=5000)
        for _ in range(50):
            time.sleep(0.1)
            try:
                self.wfile.write(b"x")
                self.wfile.flush()
            except OSError:
                return

    def give_endless(self, rest):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(2**16))
        except OSError:
            pass

    def give_huge(self, rest):
        self.give(b"", length=10**12)

    def give_text(self, rest):
        self.give(b"<html>no picture</html>")

    def give_list(self, rest):
        self.give(b"path,id\n../x.png,1\n" if rest == "bad.csv" else b"path,id\n../good/1.png,1\n")

    def give_table(self, rest):
        self.give(b"path,id\n1.png,first\n")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    """The server's address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Short waits."""
    monkeypatch.setattr(module, "SECONDS", 1.5)
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01))


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1, limits=Limits(max_bytes=1_000_000))


EXPECTED = {
    "good/1.png": "",
    "status/404.png": "missing",
    "status/410.png": "missing",
    "late/2.png": "",
    "status/401.png": "forbidden",
    "status/403.png": "forbidden",
    "cut/a.png": "network",
    "busy/3.png": "",
    "status/500.png": "network",
    "status/418.png": "network",
    "slow/a.png": "network",
    "endless/a.png": "too_large",
    "huge/a.png": "too_large",
    "moved/a.png": "",
    "text/a.png": "not_an_image",
}


@pytest.mark.parametrize("processes", [False, True])
def test_a_list_of_addresses_gives_one_true_row_each(server, predictor, tmp_path, processes):
    if processes:
        # The worker knows nothing of the short waits: only what answers at once.
        names = [name for name in EXPECTED if name.split("/")[0] in ("good", "late", "text")]
    else:
        names = list(EXPECTED)
    Handler.asked.clear()
    (tmp_path / "list.txt").write_text("".join(f"{server}/{name}\n" for name in names))
    inputs = source_inputs(tmp_path / "list.txt")
    rows = list(score_inputs(predictor, inputs, workers=2, processes=processes, batch_size=4))
    assert [row.path for row in rows] == [f"{server}/{name}" for name in names]
    for name, row in zip(names, rows, strict=True):
        if EXPECTED[name]:
            assert (row.status, row.reason) == ("unreadable", EXPECTED[name])
            continue
        seed = 4 if name.startswith("moved") else int(name.split("/")[1].removesuffix(".png"))
        told = predictor.predict(picture(seed))
        assert row.p_neither == told.class_probabilities[2]
    if not processes:
        assert Handler.asked["status/500.png"] == Handler.asked["busy/3.png"] == 3
        assert Handler.asked["status/404.png"] == Handler.asked["status/403.png"] == 1


def test_a_server_that_is_not_there(predictor):
    with pytest.raises(ImageError, match="cut off") as caught:
        Address("http://127.0.0.1:9/a.png").fetch(1000)
    assert caught.value.reason == "network"
    with pytest.raises(ImageError) as caught:
        Address("http://").fetch(1000)
    assert caught.value.reason in ("missing", "network")


def test_a_manifest_behind_a_server_names_files_beside_it(server):
    (item,) = source_inputs(f"{server}/table/m.csv")
    assert (item.id, item.file.url) == ("first", f"{server}/table/1.png")
    with pytest.raises(ManifestError, match="points outside"):
        list(source_inputs(f"{server}/list/bad.csv"))
    with pytest.raises(ManifestError, match="no such file"):
        list(source_inputs(f"{server}/status/404.csv"))
    with pytest.raises(ManifestError, match="lists no folder"):
        list(source_inputs(f"{server}/good/"))


@pytest.fixture
def store():
    """A store in memory with three pictures and a note."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for name in ("b.png", "a/1.png", "a/2.jpg", "a/notes.txt"):
        memory.pipe(f"/bucket/{name}", picture(1) if name != "a/2.jpg" else b"")
    yield "memory://bucket"
    memory.store.clear()


class TestAStore:
    def test_a_folder_is_listed_sorted(self, store):
        inputs = list(source_inputs(f"{store}/"))
        names = [item.path.rpartition("bucket/")[2] for item in inputs]
        assert names == ["a/1.png", "a/2.jpg", "b.png"]
        assert all(item.file.fetch(10_000) in (picture(1), b"") for item in inputs)
        assert len(list(source_inputs(f"{store}/a/*.jpg"))) == 1

    def test_what_is_not_there_or_too_large(self, store, predictor):
        for name, most, reason in [("gone.png", 10_000, "missing"), ("b.png", 100, "too_large")]:
            with pytest.raises(ImageError) as caught:
                Address(f"{store}/{name}").fetch(most)
            assert caught.value.reason == reason

    def test_a_package_that_is_not_installed_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setitem(module._PACKAGES, "s3", "a_package_that_is_not_there")
        (tmp_path / "m.csv").write_text("path\na.png\ns3://bucket/a.png\n")
        for source in ("s3://bucket/photos/", "s3://bucket/a.png", tmp_path / "m.csv"):
            with pytest.raises(MissingExtraError, match=r"pip install 'diascope\[cloud\]'"):
                SpooledInputs(source_inputs(source))


class TestSecrets:
    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            ("https://host/a.jpg?size=2", "https://host/a.jpg?size=2"),
            ("https://me:word@host:81/a.jpg", "https://host:81/a.jpg"),
            ("https://h/a?X-Amz-Signature=5f&b=1", "https://h/a?X-Amz-Signature=***&b=1"),
            ("https://h/a?sig=5f&AWSAccessKeyId=7", "https://h/a?sig=***&AWSAccessKeyId=***"),
            ("photos/me@home?token=1.jpg", "photos/me@home?token=1.jpg"),
            ("https://[broken/a?token=secret", "https://***"),
        ],
    )
    def test_what_is_shown_of_an_address(self, address, shown):
        assert redacted(address) == shown

    @settings(max_examples=5)
    @given(st.from_regex(r"[A-Za-z0-9]{12}", fullmatch=True))
    def test_no_way_of_failing_tells_them(self, secret):
        url = f"http://user:{secret}@127.0.0.1:9/a.png?X-Goog-Signature={secret}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "PAUSES", ())
            with pytest.raises(ImageError) as caught:
                Address(url).fetch(1000)
        chain, error = [], caught.value
        while error is not None and not error.__suppress_context__:
            chain.append(str(error))
            error = error.__context__
        assert secret not in " ".join([*chain, str(caught.value), repr(Address(url))])

    def test_a_row_holds_none(self, server, predictor, tmp_path):
        (tmp_path / "m.csv").write_text(f"path\n{server}/good/1.png?token=hidden\n")
        (row,) = score_inputs(predictor, source_inputs(tmp_path / "m.csv"))
        assert row.status != "unreadable"
        assert row.id == row.path == f"{server}/good/1.png?token=***"


class Stuck(AsyncFileSystem):
    """A store that takes the question and never answers."""

    protocol = "stuck"
    cachable = False

    async def _cat_file(self, path, start=None, end=None, **_):
        await asyncio.sleep(60)


def test_a_store_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.1)
    monkeypatch.setitem(module._PACKAGES, "stuck", "fsspec")
    fsspec.register_implementation("stuck", Stuck, clobber=True)
    with pytest.raises(ImageError, match=r"no whole answer within 0\.1 seconds") as caught:
        Address("stuck://bucket/a.png").fetch(100)
    assert caught.value.reason == "network"


@pytest.mark.parametrize("name", ["auth", "Authorization", "passwd", "pwd", "jwt", "hmac", "sig"])
def test_names_of_secrets(name):
    assert redacted(f"https://host/a.png?{name}=5f") == f"https://host/a.png?{name}=***"
    assert redacted(f"https://host/a.png?no_{name}s=5f") == f"https://host/a.png?no_{name}s=5f"
