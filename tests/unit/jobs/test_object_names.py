"""Keys of results and uploads, and names for browsers."""

from __future__ import annotations

import pytest

from jobs.model import ObjectRef, TenantId
from jobs.object_names import (
    attachment,
    is_result_of,
    new_upload_id,
    plain_name,
    result_ref,
    upload_id_of,
    upload_ref,
)
from tests import samples

ANNA = TenantId("anna")


def test_no_two_attempts_nor_two_tries_write_the_same_key() -> None:
    job = samples.job(epoch=3)
    refs = {result_ref("photos", job, "faces/0", "png") for _ in range(100)}
    assert len(refs) == 100
    for ref in refs:
        prefix = f"results/local/{job.id}/3-"
        assert ref.key.startswith(prefix)
        assert ref.key.endswith("/faces/0.png")
        assert ObjectRef.parse(ref.uri) == ref
        assert is_result_of(ref, job.id, bucket="photos", tenant=job.tenant)


def test_an_upload_is_known_again_by_its_key_for_its_own_tenant_only() -> None:
    upload_id = new_upload_id()
    ref = upload_ref("b", ANNA, upload_id)
    assert upload_id_of(ref, bucket="b", tenant=ANNA) == upload_id
    assert upload_id_of(ref, bucket="other", tenant=ANNA) is None
    assert upload_id_of(ref, bucket="b", tenant=TenantId("bert")) is None


@pytest.mark.parametrize("key", ["uploads/anna/x", f"results/anna/upl_{'0' * 32}", f"uploads/anna/upl_{'0' * 32}x"])
def test_what_is_no_upload_is_not_taken_for_one(key: str) -> None:
    assert upload_id_of(ObjectRef(bucket="b", key=key), bucket="b", tenant=ANNA) is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("oma 1931.jpg", "oma 1931.jpg"),
        ("Großmutter.tif", "Großmutter.tif"),
        ("C:\\Scans\\oma.jpg", "oma.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\r\nb:<c>.png", "a_b_c_.png"),
        ("\ud800.png", "_.png"),
        ("x" * 300 + ".jpg", "x" * 96 + ".jpg"),
        ("..", ""),
        ("", ""),
        (f"upl_{'0' * 32}", ""),
    ],
)
def test_an_upload_is_called_as_its_owner_calls_it_made_safe(said: str, name: str) -> None:
    upload_id = new_upload_id()
    ref = upload_ref("photos", ANNA, upload_id, filename=said)
    assert plain_name(ref) == name
    assert ref.key.startswith(f"uploads/anna/{upload_id}")
    assert ObjectRef.parse(ref.uri) == ref
    assert upload_id_of(ref, bucket="photos", tenant=ANNA) == upload_id


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        ("oma.jpg", "oma.jpg", "oma.jpg"),
        ("Öma 1.jpg", "_ma 1.jpg", "%C3%96ma%201.jpg"),
        ('a"; filename="b.exe', "a__ filename__b.exe", "a%22%3B%20filename%3D%22b.exe"),
        ("a\r\nSet-Cookie: b=c.jpg", "a__Set-Cookie_ b_c.jpg", "a__Set-Cookie%3A%20b%3Dc.jpg"),
        ("../../etc/passwd", ".._.._etc_passwd", ".._.._etc_passwd"),
        ("..\\boot.ini", ".._boot.ini", ".._boot.ini"),
        ("photo\u202egpj.exe", "photo_gpj.exe", "photo_gpj.exe"),
        ("\ud800.png", "_.png", "_.png"),
        ("a\0b\x7f.png", "a_b_.png", "a_b_.png"),
    ],
)
def test_no_name_means_anything_to_a_browser_but_a_name(name: str, plain: str, encoded: str) -> None:
    assert attachment(name) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
