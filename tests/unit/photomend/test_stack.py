"""What the local stack leaves on the disk and on the screen is nobody else's to read."""

from __future__ import annotations

import pytest

from photomend.stack import private
from photomend.stack.show import without_credentials


def mode_of(path) -> int:
    return path.stat().st_mode & 0o777


def test_a_data_folder_is_its_owners_alone(tmp_path):
    """It holds photos and their results; it used to be made as open as any other folder."""
    private.make_folder(tmp_path / "deep" / "stack")
    assert mode_of(tmp_path / "deep" / "stack") == 0o700


def test_a_folder_that_somebody_opened_on_purpose_stays_open(tmp_path):
    tmp_path.chmod(0o755)
    private.make_folder(tmp_path)
    assert mode_of(tmp_path) == 0o755


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path):
    secret = tmp_path / "secret"
    assert private.keep(secret, "first") == "first"
    assert private.keep(secret, "second") == "first"
    assert mode_of(secret) == 0o600


def test_a_file_that_others_could_read_is_closed_when_it_is_written(tmp_path):
    conf = tmp_path / "proxy-server.conf"
    conf.write_text("old")
    conf.chmod(0o644)
    private.write(conf, "with a secret")
    assert conf.read_text() == "with a secret"
    assert mode_of(conf) == 0o600


def test_a_write_that_was_killed_half_way_leaves_no_empty_secret(tmp_path):
    """The file used to be made before it was filled, and an empty one counted as the secret ever after."""
    (tmp_path / ".secret.draft").touch()
    assert private.keep(tmp_path / "secret", "fresh") == "fresh"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://user:pa@ss@redis.example:6380/1", "rediss://redis.example:6380/1"),
        ("redis://:word@[::1]:6379", "redis://[::1]:6379"),
    ],
)
def test_a_password_in_an_address_is_not_shown(url, shown):
    """``photomend up`` used to print the address of the user's own Redis as it was given."""
    assert without_credentials(url) == shown
