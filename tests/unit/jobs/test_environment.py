"""Settings that lie in files: read where the environment names them, and never half believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.environment import SUFFIX, from_files, overlaid
from jobs.errors import NotSetUp
from photomend.client import PhotomendError
from photomend.client.settings import chosen_key
from worker.settings import KeeperSettings, WorkerSettings, environment_with


@pytest.fixture(autouse=True)
def no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHOTOMEND_SIGNING_SECRET")


def test_every_kind_of_setting_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {
        "SIGNING_SECRET": "with spaces, $(false) and 'quotes'\n",
        "REDIS_URL": "redis://photomend:pass@redis:6379/0\r\n",
        "CALLBACK_ALLOW_HOSTS": '["intranet:8080"]',
        "LEASE_S": "7.5\n",
    }
    for name, text in words.items():
        (tmp_path / name).write_bytes(text.encode())
        monkeypatch.setenv(f"PHOTOMEND_{name}{SUFFIX}", str(tmp_path / name))
    settings = KeeperSettings()
    assert settings.signing_secret is not None
    assert settings.signing_secret.get_secret_value() == "with spaces, $(false) and 'quotes'"
    assert settings.redis_url == "redis://photomend:pass@redis:6379/0"
    assert settings.callback_allow_hosts == ("intranet:8080",)
    assert settings.lease_s == 7.5


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "not text")]
)
def test_a_file_that_holds_no_value_is_named_with_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    place = tmp_path / "secret"
    if content is not None:
        place.write_bytes(content)
    monkeypatch.setenv("PHOTOMEND_SIGNING_SECRET_FILE", str(place))
    with pytest.raises(NotSetUp, match=f"PHOTOMEND_SIGNING_SECRET_FILE names {place}, which .*{why}"):
        WorkerSettings()


def test_a_setting_that_is_said_twice_is_refused_unless_one_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").write_text("scans")
    monkeypatch.setenv("PHOTOMEND_BUCKET_FILE", str(tmp_path / "bucket"))
    monkeypatch.setenv("PHOTOMEND_BUCKET", "")
    assert WorkerSettings().bucket == "scans"
    monkeypatch.setenv("PHOTOMEND_BUCKET", "other")
    with pytest.raises(NotSetUp, match="both set"):
        WorkerSettings()


def test_what_a_child_is_told_is_not_contradicted_by_a_file_of_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "threads").write_text("9")
    monkeypatch.setenv("PHOTOMEND_THREADS_FILE", str(tmp_path / "threads"))
    told = environment_with({"PHOTOMEND_THREADS": "2"}, defaults={})
    assert from_files(told, ["PHOTOMEND_THREADS"]) == {}
    assert told["PHOTOMEND_THREADS"] == "2"
    kept = environment_with({}, defaults={"PHOTOMEND_THREADS": "3"})
    assert from_files(kept, ["PHOTOMEND_THREADS"]) == {"PHOTOMEND_THREADS": "9"}
    assert overlaid({"A": "1", "B": "2"}, {"B": "3"}) == {"A": "1", "B": "3"}


def test_no_setting_is_named_like_the_file_of_another() -> None:
    names = {f"PHOTOMEND_{name.upper()}" for cls in (WorkerSettings, KeeperSettings) for name in cls.model_fields}
    assert not [name for name in names if name.endswith(SUFFIX)]


def test_the_clients_key_may_lie_in_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("pm_live_of_a_file\n")
    monkeypatch.setenv("PHOTOMEND_API_KEY_FILE", str(tmp_path / "key"))
    assert chosen_key(None) == "pm_live_of_a_file"
    assert chosen_key("pm_live_given") == "pm_live_given"
    monkeypatch.setenv("PHOTOMEND_API_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(PhotomendError, match="PHOTOMEND_API_KEY_FILE"):
        chosen_key(None)
