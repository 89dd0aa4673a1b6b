"""Files arrive whole or not at all, politely, and a rerun asks only for what is missing."""

import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from bucket import serving

from diascope.download import Patience, Status, Wanted, download
from diascope.errors import OutputError

QUICK = Patience(attempts=4, first=0.01, longest=2.0, timeout=5.0)
BODY = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def straight(monkeypatch):
    """Loopback is never behind a proxy."""
    monkeypatch.setenv("no_proxy", "*")


def get(bucket, folder, *names, check=lambda path: None, most=10**6, **options):
    wanted = [Wanted(f"{bucket.address}/{name}", name, most) for name in names]
    return download(wanted, folder, check=check, patience=options.pop("patience", QUICK), **options)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_files_arrive_in_order_and_are_not_asked_for_again(tmp_path):
    bodies = {f"sub/{n}.bin": BODY[n:] for n in range(20)}
    with serving(bodies) as bucket:
        first = get(bucket, tmp_path, *bodies)
        again = get(bucket, tmp_path, *bodies)
    assert [one.wanted.name for one in first] == list(bodies)
    assert {one.status for one in first} == {Status.FETCHED}
    assert {one.status for one in again} == {Status.PRESENT}
    assert set(bucket.counts.values()) == {1}
    assert all((tmp_path / name).read_bytes() == body for name, body in bodies.items())
    assert len(files_in(tmp_path)) == 20  # no part, no tag


def test_no_more_connections_than_allowed(tmp_path):
    names = [f"{n}" for n in range(12)]
    slow = dict.fromkeys(names, 0.005)
    with serving(dict.fromkeys(names, BODY), slow=slow) as bucket:
        get(bucket, tmp_path, *names, connections=3)
    assert 1 < bucket.most_at_once <= 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(tmp_path, status):
    with serving({"a": BODY}, fail_first={"a": [status, status]}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert (outcome.status, bucket.counts["a"]) == (Status.FETCHED, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_taken_at_once(tmp_path, status):
    with serving({"a": BODY}, always={"a": status}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert (outcome.status, bucket.counts["a"]) == (Status.FAILED, 1)
    assert f"status {status}" in outcome.reason
    assert files_in(tmp_path) == []


def test_patience_ends(tmp_path):
    with serving({"a": BODY}, always={"a": 503}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert (outcome.status, bucket.counts["a"]) == (Status.FAILED, QUICK.attempts)
    assert "503" in outcome.reason


def test_retry_after_is_kept_for_the_whole_host(tmp_path):
    """While one file's answer asks for a second of quiet, no other file is asked for."""
    names = ["a", "b", "c"]
    faults = {"fail_first": {"a": [429]}, "extra": {"a": {"Retry-After": "1"}}}
    with serving(dict.fromkeys(names, BODY), **faults) as bucket:
        started = datetime.now(UTC)
        outcomes = get(bucket, tmp_path, *names, connections=1)
        took = (datetime.now(UTC) - started).total_seconds()
    assert {one.status for one in outcomes} == {Status.FETCHED}
    assert took >= 1.0
    assert [path for path, _ in bucket.asked] == ["a", "a", "b", "c"]


@pytest.mark.parametrize("asked", ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1))])
def test_a_server_that_wants_an_hour_gets_it(tmp_path, asked):
    faults = {"always": {"a": 503}, "extra": {"a": {"Retry-After": asked}}}
    with serving({"a": BODY}, **faults) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert (outcome.status, bucket.counts["a"]) == (Status.FAILED, 1)


def test_a_file_cut_off_goes_on_where_it_broke(tmp_path):
    with serving({"a": BODY}, cut_first={"a"}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert outcome.status is Status.FETCHED
    assert (tmp_path / "a").read_bytes() == BODY
    assert bucket.asked == [("a", ""), ("a", f"bytes={len(BODY) // 2}-")]


def left_over(folder, data, tag):
    (folder / "a.part").write_bytes(data)
    (folder / "a.part.tag").write_text(tag)


def etag_of(data):
    import hashlib

    return f'"{hashlib.md5(data).hexdigest()}"'


def test_a_part_of_an_earlier_run_is_completed(tmp_path):
    left_over(tmp_path, BODY[:1000], etag_of(BODY))
    with serving({"a": BODY}) as bucket:
        get(bucket, tmp_path, "a")
    assert bucket.asked == [("a", "bytes=1000-")]
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("tag", ['"another version"', ""])
def test_a_part_of_another_version_is_started_anew(tmp_path, tag):
    left_over(tmp_path, b"x" * 1000, tag)
    with serving({"a": BODY}) as bucket:
        get(bucket, tmp_path, "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(bucket.asked) == 1


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path):
    left_over(tmp_path, BODY + b"more", etag_of(BODY))
    with serving({"a": BODY}) as bucket:
        bucket.fail_first = {"a": [416]}
        (outcome,) = get(bucket, tmp_path, "a")
    assert outcome.status is Status.FETCHED
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_file_that_fails_its_check_is_not_kept(tmp_path):
    with serving({"a": BODY}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a", check=lambda path: "no picture")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "no picture")
    assert bucket.counts["a"] == 1
    assert files_in(tmp_path) == []


def test_without_a_length_a_bad_file_is_tried_again(tmp_path):
    """It may have been cut off, and nothing would have told so."""

    def check(path):
        return None if path.read_bytes() == BODY else "half"

    with serving({"a": BODY}, cut_first={"a"}, without={"Content-Length"}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a", check=check)
    assert (outcome.status, bucket.counts["a"]) == (Status.FETCHED, 2)


def test_a_file_larger_than_allowed_is_not_taken(tmp_path):
    with serving({"a": BODY}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a", most=1000)
    assert outcome.status is Status.FAILED
    assert "more than 1,000 bytes" in outcome.reason


def test_redirects_are_followed_within_one_scheme(tmp_path):
    with serving({"b": BODY}, redirects={"a": "/b"}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert outcome.status is Status.FETCHED
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://x/y"])
def test_a_redirect_to_another_scheme_is_not_followed(tmp_path, target):
    with serving({}, redirects={"a": target}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert outcome.status is Status.FAILED
    assert "another scheme" in outcome.reason
    assert files_in(tmp_path) == []


def test_a_redirect_up_to_https_is_followed(tmp_path):
    """An old http address of an atlas; the bucket speaks no TLS, so the handshake fails."""
    with (
        serving({}) as other,
        serving({}, redirects={"a": f"https{other.address[4:]}/b"}) as bucket,
    ):
        (outcome,) = get(bucket, tmp_path, "a")
    assert outcome.status is Status.FAILED
    assert "SSL" in outcome.reason


def test_a_redirect_in_a_circle_ends(tmp_path):
    with serving({}, redirects={"a": "/a"}) as bucket:
        (outcome,) = get(bucket, tmp_path, "a")
    assert "redirects" in outcome.reason
    assert bucket.counts["a"] < 10


@pytest.mark.parametrize("address", ["file:///etc/hostname", "", "http://", "http://[", "nonsense"])
def test_an_address_that_is_none_fails(tmp_path, address):
    (outcome,) = download(
        [Wanted(address, "a", 100)], tmp_path, check=lambda path: None, patience=QUICK
    )
    assert outcome.status is Status.FAILED
    assert outcome.reason


def test_nobody_listens(tmp_path):
    with serving({}) as bucket:
        address = bucket.address
    (outcome,) = download(
        [Wanted(f"{address}/a", "a", 100)], tmp_path, check=lambda path: None, patience=QUICK
    )
    assert outcome.status is Status.FAILED
    assert "no answer" in outcome.reason


def test_a_host_that_is_gone_is_not_asked_for_every_file(tmp_path):
    """Hundreds of dead links of one host must not take their time-outs one by one."""
    with serving({}) as bucket:
        gone = bucket.address
    with serving({"here": BODY}) as bucket:
        names = [f"{n}" for n in range(60)]
        wanted = [Wanted(f"{gone}/{name}", name, 100) for name in names]
        wanted.append(Wanted(f"{bucket.address}/here", "here", 10**6))
        outcomes = download(wanted, tmp_path, check=lambda path: None, patience=QUICK)
    reasons = [one.reason for one in outcomes]
    asked = sum("no answer" in reason for reason in reasons)
    assert asked <= QUICK.silences
    assert sum("does not answer" in reason for reason in reasons) == 60 - asked
    assert outcomes[-1].status is Status.FETCHED


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_a_full_disk_stops_all_and_the_rerun_goes_on(tmp_path):
    names = [f"{n}" for n in range(8)]
    (tmp_path / "3.part").symlink_to("/dev/full")
    with serving(dict.fromkeys(names, BODY)) as bucket:
        with pytest.raises(OutputError, match=r"disk is full.*again") as raised:
            get(bucket, tmp_path, *names, connections=1)
        assert len(str(raised.value).splitlines()) <= 3
        there = {name for name in names if (tmp_path / name).exists()}
        assert there == {"0", "1", "2"}
        (tmp_path / "3.part").unlink()
        bucket.asked.clear()
        outcomes = get(bucket, tmp_path, *names)
    assert {one.status for one in outcomes} == {Status.FETCHED, Status.PRESENT}
    assert set(bucket.counts) == set(names) - there
    assert all((tmp_path / name).read_bytes() == BODY for name in names)
