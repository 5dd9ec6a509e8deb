"""Manifests in every form: what is read, what becomes a row with a fault, and going on in the middle."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json

import pytest

from jobs.batches import manifest as m
from jobs.batches.manifest import Cursor, Entry, Manifest, ManifestFormat, ManifestInvalid, Prefix, read, walk
from jobs.model import ObjectRef
from tests.doubles import MemoryBlobs


@pytest.fixture
def blobs() -> MemoryBlobs:
    made = MemoryBlobs()
    made.ensure_bucket("lists")
    made.ensure_bucket("scans")
    return made


def stored(blobs: MemoryBlobs, data: bytes, form: ManifestFormat, key: str = "list") -> Manifest:
    ref = ObjectRef(bucket="lists", key=key)
    return Manifest(ref=ref, etag=blobs.put(ref, data, content_type="text/csv").etag, format=form)


def sources(found: list[tuple[Entry, Cursor]]) -> list[str]:
    return [entry.source.uri if entry.source else f"{entry.fault.code}: {entry.line}" for entry, _ in found]  # type: ignore[union-attr]


def test_a_csv_as_s3_batch_operations_writes_it(blobs: MemoryBlobs) -> None:
    text = 'scans,a.tif\r\nscans,b%20c%2Bd.tif,v1\n\n"scans","caf%C3%A9/x.tif"\nscans,plus+is+space.tif'
    found = list(read(blobs, stored(blobs, text.encode(), ManifestFormat.CSV)))
    assert sources(found) == [
        "s3://scans/a.tif", "s3://scans/b c+d.tif", "s3://scans/café/x.tif", "s3://scans/plus is space.tif",
    ]  # fmt: skip
    assert [entry.version_id for entry, _ in found] == [None, "v1", None, None]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scans", "columns"),
        ("scans,a,b,c", "columns"),
        ('scans,"a', "not CSV"),
        ("scans,%ff.tif", "UTF-8"),
        ("scans,../a.tif", "segments"),
        ("SCANS,a.tif", "s3://"),
        (",a.tif", "s3://"),
        ("scans,", "s3://"),
    ],
)
def test_a_line_that_cannot_be_used_is_an_entry_that_says_why(blobs: MemoryBlobs, line: str, words: str) -> None:
    found = list(read(blobs, stored(blobs, f"scans,a.tif\n{line}\nscans,z.tif\n".encode(), ManifestFormat.CSV)))
    assert [entry.source is not None for entry, _ in found] == [True, False, True]
    fault = found[1][0].fault
    assert fault is not None
    assert fault.code == "bad_row"
    assert words in fault.detail
    assert found[1][0].line == line


def test_lines_that_are_too_long_or_no_text_are_entries_as_well(blobs: MemoryBlobs, monkeypatch) -> None:
    monkeypatch.setattr(m, "PIECE", 1000)
    data = b"scans,a.tif\n" + b"x" * (m.MAX_LINE + 5) + b"\nscans,\xff\xfe\nscans,z.tif"
    found = list(read(blobs, stored(blobs, data, ManifestFormat.CSV)))
    assert [entry.source is not None for entry, _ in found] == [True, False, False, True]
    assert found[-1][1].offset == len(data)


def test_jsonl_has_options_checksums_versions_and_names_of_its_own(blobs: MemoryBlobs) -> None:
    good = {
        "source": "s3://scans/a.tif",
        "sha256": "a" * 64,
        "options": {"scale": 3},
        "output": "x/1.tif",
        "etag": '"e"',
    }
    bad = [
        "{", "[]", '{"source": 3}', '{"source": "scans/a.tif"}', '{"source": "s3://scans/a", "colour": 1}',
        '{"source": "s3://scans/a", "sha256": "zz"}', '{"source": "s3://scans/a", "options": {"scale": 9}}',
        '{"source": "s3://scans/a", "options": [1]}', '{"source": "s3://scans/a", "etag": 5}',
    ]  # fmt: skip
    text = "\n".join(["\ufeff" + json.dumps(good), *bad])
    found = [entry for entry, _ in read(blobs, stored(blobs, text.encode(), ManifestFormat.JSONL))]
    first, *others = found
    assert (first.source, first.sha256, first.etag) == (ObjectRef(bucket="scans", key="a.tif"), "a" * 64, "e")
    assert (first.options, first.output) == ({"scale": 3}, "x/1.tif")
    assert [entry.fault is not None for entry in others] == [True] * len(bad)
    assert {entry.fault.code for entry in others} == {"bad_row", "invalid_option", "invalid_request"}  # type: ignore[union-attr]


def inventory(blobs: MemoryBlobs, *files: str, md5: str | None = None) -> Manifest:
    told = []
    for number, text in enumerate(files):
        data = gzip.compress(text.encode())
        ref = ObjectRef(bucket="lists", key=f"data/{number}.csv.gz")
        blobs.put(ref, data, content_type="application/gzip")
        told.append({"key": ref.key, "MD5checksum": md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()})
    words = {
        "fileFormat": "CSV", "destinationBucket": "arn:aws:s3:::lists", "fileSchema": "Bucket, Key, Size, ETag",
        "files": told,
    }  # fmt: skip
    return stored(blobs, json.dumps(words).encode(), ManifestFormat.INVENTORY, "manifest.json")


def test_an_inventory_is_read_through_all_its_files(blobs: MemoryBlobs) -> None:
    told = inventory(blobs, '"scans","a%20b.tif","12","e1"\n"scans","c.tif","3",""\n', '"scans","d.tif","1","e3"\n')
    found = list(read(blobs, told))
    assert sources(found) == ["s3://scans/a b.tif", "s3://scans/c.tif", "s3://scans/d.tif"]
    assert [entry.etag for entry, _ in found] == ["e1", None, "e3"]


@pytest.mark.parametrize(
    "words", [b"{", b"[]", b'{"fileFormat": "ORC", "files": []}', b'{"fileFormat": "CSV", "fileSchema": "Key"}']
)
def test_what_is_no_inventory_fails_as_a_whole(blobs: MemoryBlobs, words: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        list(read(blobs, stored(blobs, words, ManifestFormat.INVENTORY)))


def test_a_file_of_an_inventory_that_is_not_the_listed_one_or_no_gzip_fails(blobs: MemoryBlobs) -> None:
    with pytest.raises(ManifestInvalid, match="MD5"):
        list(read(blobs, inventory(blobs, "x\n", md5="0" * 32)))
    told = inventory(blobs, "scans,a,1,e\n", md5="-")
    ref = ObjectRef(bucket="lists", key="data/0.csv.gz")
    blobs.put(ref, b"plain", content_type="text/csv")
    with pytest.raises(ManifestInvalid, match="gzip"):
        list(read(blobs, told))
    blobs.put(ref, gzip.compress(b"scans,a,1,e\n" * 1000)[:-9], content_type="text/csv")
    with pytest.raises(ManifestInvalid, match="too early"):
        list(read(blobs, told))


@pytest.mark.parametrize("form", list(ManifestFormat))
def test_reading_on_from_any_line_gives_the_rest(blobs: MemoryBlobs, form: ManifestFormat, monkeypatch) -> None:
    monkeypatch.setattr(m, "PIECE", 64)
    names = [f"{n:03d} {'ä' * (n % 7)}.tif" for n in range(40)]
    if form is ManifestFormat.JSONL:
        told = stored(blobs, "\n".join(json.dumps({"source": f"s3://scans/{n}"}) for n in names).encode(), form)
    elif form is ManifestFormat.CSV:
        told = stored(blobs, "".join(f"scans,{n}\n\n" for n in names).encode(), form)
    else:
        lines = [f"scans,{n},1,e\n" for n in names]
        told = inventory(blobs, "".join(lines[:25]), "", "".join(lines[25:]))
    whole = list(read(blobs, told))
    assert sources(whole) == [f"s3://scans/{n}" for n in names]
    for place, (_, cursor) in enumerate(whole):
        assert list(read(blobs, told, after=cursor)) == whole[place + 1 :]


def test_a_manifest_that_changed_is_noticed_at_its_beginning_and_in_its_middle(blobs: MemoryBlobs, monkeypatch) -> None:
    monkeypatch.setattr(m, "PIECE", 32)
    told = stored(blobs, b"scans,aaaaaaaaaa.tif\n" * 9, ManifestFormat.CSV)
    reading = read(blobs, told)
    list(itertools.islice(reading, 2))
    stored(blobs, b"scans,b.tif\n" * 90, ManifestFormat.CSV)
    for rest in (reading, read(blobs, told)):
        with pytest.raises(ManifestInvalid, match="not the version"):
            list(rest)


def test_a_prefix_is_walked_by_its_patterns(blobs: MemoryBlobs) -> None:
    for key in ("in/a.TIF", "in/b.txt", "in/deep/c.jpg", "in/deep/", "in/old/d.jpg", "inside/e.jpg"):
        blobs.put(ObjectRef(bucket="scans", key=key), b"x", content_type="image/tiff")

    def keys(**patterns: tuple[str, ...]) -> list[str]:
        found = walk(blobs, Prefix(bucket="scans", prefix="in/", **patterns))
        return [entry.source.key for entry in found if entry.source]

    assert keys() == ["in/a.TIF", "in/deep/c.jpg", "in/old/d.jpg"]
    assert keys(exclude=("OLD/*",)) == ["in/a.TIF", "in/deep/c.jpg"]
    assert keys(include=("*.txt", "deep/*")) == ["in/b.txt", "in/deep/c.jpg"]
    first = next(walk(blobs, Prefix(bucket="scans", prefix="in/")))
    assert first.etag == hashlib.md5(b"x", usedforsecurity=False).hexdigest()


def test_an_entry_is_kept_as_it_is() -> None:
    for entry in (
        Entry(source=ObjectRef(bucket="scans", key="a b.tif"), sha256="0" * 64, options={"scale": 2}, output="x"),
        m.parse_csv("scans"),
        Entry(source=ObjectRef(bucket="scans", key="a"), version_id="v", etag="e"),
    ):
        assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
