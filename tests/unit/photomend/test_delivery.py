"""A folder as one delivery: every line accounted for once, whatever happens; what is proved done is not done again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from jobs.delivery.errors import ManifestUnreadable, NotDelivered, RowsMissing
from jobs.delivery.html import Heading
from jobs.delivery.premis import Origin
from jobs.delivery.rows import Row, Status
from jobs.delivery.sampling import Sampler
from jobs.delivery.written import read_csv
from jobs.options import JobOptions
from photomend.delivery import credentials, manifest, report, run, sheet
from photomend.delivery.bag import Packing
from photomend.delivery.credentials import Credentials
from photomend.delivery.display import Display
from photomend.delivery.done import Recipe
from photomend.delivery.journal import Journal
from photomend.delivery.run import Delivery
from photomend.files import FileRefused, Flat, require_apart, sha256_of
from photomend.mending import Mender
from pipeline import thumbnail
from pipeline.codec import Limits
from pipeline.codec import read as codec_read
from tests.unit.pipeline.corpus import LOSSLESS
from tests.unit.pipeline.test_restoration import Lighten

OPTIONS = JobOptions(scale=1.0)
MODEL: dict[str, Any] = {"name": "lighten", "sha256": "00", "background": "none", "engine": "torch-cpu"}
BAD = b"no picture"
ORIGIN = Origin(program="photomend", version="1", made_at="2026-11-26T00:00:00+00:00")


def picture(seed: int = 0) -> bytes:
    """PNG files that differ in one pixel."""
    image = Image.open(io.BytesIO(LOSSLESS["png-rgb-8"]()))
    image.putpixel((0, 0), (seed, 0, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


class Counting(Lighten):
    """Counts what it is given; may be told to end the run, or to record other weights."""

    def __init__(self, *, stop_after: int | None = None, sha256: str = "00") -> None:
        super().__init__()
        self.given, self.stop_after, self.model = 0, stop_after, MODEL | {"sha256": sha256}

    def __call__(self, picture, options, **more):
        import dataclasses

        self.given += 1
        if self.stop_after is not None and self.given > self.stop_after:
            raise KeyboardInterrupt
        return dataclasses.replace(super().__call__(picture, options, **more), model=self.model)


def put(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_png", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def scans(tmp_path) -> Path:
    return put(tmp_path / "scans", a_png=picture(1), b_png=picture(2), c_png=BAD, sub__d_png=picture(3))


def delivered(
    folder: Path, out: Path, *, restorer: Counting | None = None, entries=None, options=OPTIONS, overwrite=False
) -> list[Row]:
    """One run as the command makes it; the report's rows."""
    restorer, journal = restorer or Counting(), Journal(out)
    mender = Mender(
        restorer=restorer,
        options=options,
        layout=Flat(folder=out),
        limits=Limits(),
        overwrite=overwrite,
        resumes=True,
        staging=journal.staging,
    )
    delivery = Delivery(
        entries=entries or manifest.of_folder(folder, recursive=True),
        mender=mender,
        journal=journal,
        out=out,
        recipe_of=lambda wanted: Recipe(options=wanted, model=restorer.model),
        at_once=1,
    )
    heading = Heading(title="t", source="s", output="o", made_by="photomend", made_at="2026-11-26T00:00:00+00:00")
    try:
        delivery.run(lambda row, *, worked: None)
    finally:
        report.write(
            delivery.rows(),
            expected=len(delivery.entries),
            out=out,
            heading=heading,
            origin=ORIGIN,
            pictures=lambda rows: sheet.samples(rows, folder=folder, out=out, limits=Limits(), page=1),
        )
        delivery.journal.close()
    return list(report.read(out))


def statuses(rows: list[Row]) -> list[str]:
    return [str(row.status) for row in rows]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_picture_has_one_row_with_what_became_of_it(scans, tmp_path):
    before, out = files(scans), tmp_path / "out"
    rows = delivered(scans, out)
    assert [row.source for row in rows] == ["a.png", "b.png", "c.png", "sub/d.png"]
    assert statuses(rows) == ["succeeded", "succeeded", "failed", "succeeded"]
    assert rows[2].error_code == "image_unreadable"
    assert rows[2].source_sha256 == hashlib.sha256(BAD).hexdigest()
    first = rows[0]
    assert first.source_sha256 == hashlib.sha256(before["a.png"]).hexdigest()
    assert [(o.part, o.key) for o in first.outputs] == [("image", "a.png"), ("provenance", "a.provenance.json")]
    assert all(o.sha256 == hashlib.sha256((out / o.key).read_bytes()).hexdigest() for o in first.outputs)
    assert (first.faces_found, first.faces_restored, first.model, first.weights) == (1, 1, "lighten", {"lighten": "00"})
    assert first.warnings == ("preview_weights",)
    assert files(scans) == before
    with (out / report.FOLDER / report.CSV).open(encoding="utf-8", newline="") as table:
        assert list(read_csv(table)) == rows


def test_the_checksums_are_those_that_sha256sum_verifies(tmp_path):
    out = tmp_path / "out"
    delivered(put(tmp_path / "scans", a_png=picture(1), **{"back\\slash_png": picture(2)}), out)
    sums = (report.FOLDER / report.CHECKSUMS).as_posix()
    done = subprocess.run(["sha256sum", "--strict", "-c", sums], cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("OK") == 4


def test_a_report_s_checksums_are_a_manifest(tmp_path):
    """What one delivery hands over, the next one can take up; names with backslashes and line ends too."""
    name = "back\\slash\nline.png"
    folder = put(tmp_path / "scans", **{name: picture(1)})
    listed = subprocess.run(["sha256sum", name], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert listed.startswith("\\")
    (tmp_path / "sums").write_text(listed)
    [entry] = manifest.of_file(tmp_path / "sums", folder=folder, options=OPTIONS)
    assert (entry.source, entry.input.sha256) == (name, hashlib.sha256(picture(1)).hexdigest())


def test_a_second_run_does_nothing_again_but_what_failed(scans, tmp_path):
    out = tmp_path / "out"
    first = delivered(scans, out)
    kept = files(out)
    (scans / "c.png").write_bytes(picture(9))
    restorer = Counting()
    rows = delivered(scans, out, restorer=restorer)
    assert restorer.given == 1
    assert statuses(rows) == ["succeeded"] * 4
    assert [rows[0], rows[1], rows[3]] == [first[0], first[1], first[3]]
    assert {name: data for name, data in files(out).items() if name in kept and ".png" in name} == {
        name: data for name, data in kept.items() if ".png" in name
    }


def test_after_a_stop_every_line_is_told_and_the_next_run_goes_on(scans, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        delivered(scans, out, restorer=Counting(stop_after=1))
    assert statuses(list(report.read(out))) == ["succeeded", "canceled", "canceled", "canceled"]
    restorer = Counting()
    assert statuses(delivered(scans, out, restorer=restorer)) == ["succeeded", "succeeded", "failed", "succeeded"]
    assert restorer.given == 2


def test_a_stop_reaches_pictures_in_work_between_two_steps(scans, tmp_path):
    """Ctrl-C in the first thread; the picture in the other one notices at its next step."""
    out = tmp_path / "out"
    delivery = Delivery(
        entries=manifest.of_folder(scans, recursive=True),
        mender=Mender(restorer=Counting(), options=OPTIONS, layout=Flat(folder=out), limits=Limits(), resumes=True),
        journal=Journal(out),
        out=out,
        recipe_of=lambda wanted: Recipe(options=wanted, model=MODEL),
        at_once=1,
    )
    delivery._stop.set()
    delivery.run(lambda row, *, worked: None)
    assert statuses(list(delivery.rows())) == ["canceled"] * 4
    with pytest.raises(Exception, match="interrupted"):
        delivery._go_on(None, 0.5)
    delivery.journal.close()


@pytest.mark.parametrize("lost", ["journal", "last line", "record", "picture"])
def test_whatever_a_kill_loses_is_made_good(scans, tmp_path, lost):
    out = tmp_path / "out"
    delivered(scans, out)
    whole, journal = files(out), out / ".photomend" / "rows.jsonl"
    if lost == "journal":
        journal.unlink()
    elif lost == "last line":
        journal.write_bytes(journal.read_bytes()[:-30])
    elif lost == "record":
        # Between writing the picture and its record.
        (out / "sub" / "d.provenance.json").unlink()
        journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    else:
        (out / "sub" / "d.png").unlink()
    restorer = Counting()
    rows = delivered(scans, out, restorer=restorer)
    again = {"journal": 0, "last line": 0, "record": 1, "picture": 1}[lost]
    assert restorer.given == again
    told = "skipped" if lost in {"journal", "last line"} else "succeeded"
    others = "skipped" if lost == "journal" else "succeeded"
    assert statuses(rows) == [others, others, "failed", told]
    skipped = rows[3]
    assert {o.key: o.sha256 for o in skipped.outputs} == {
        key: hashlib.sha256(whole[key]).hexdigest() for key in ("sub/d.png", "sub/d.provenance.json")
    }
    assert (skipped.faces_restored, skipped.weights) == (1, {"lighten": "00"})
    pictures = {name for name in whole if name.endswith(("png", "provenance.json"))}
    assert {name: files(out)[name] for name in pictures} == {name: whole[name] for name in pictures}


@pytest.mark.parametrize("changed", ["options", "weights", "source", "result"])
def test_a_result_of_something_else_is_never_taken_for_done_nor_replaced(scans, tmp_path, changed):
    out = tmp_path / "out"
    delivered(scans, out)
    more: dict[str, Any] = {}
    if changed == "options":
        more["options"] = JobOptions(scale=1.0, strength=0.5)
    elif changed == "weights":
        more["restorer"] = Counting(sha256="11")
    elif changed == "source":
        (scans / "a.png").write_bytes(picture(77))
    else:
        (out / "a.png").write_bytes(b"rotten")
    there = (out / "a.png").read_bytes()
    rows = delivered(scans, out, **more)
    assert (rows[0].status, rows[0].error_code) == (Status.FAILED, "output_exists")
    assert (out / "a.png").read_bytes() == there
    rows = delivered(scans, out, overwrite=True, **more)
    assert rows[0].status is Status.SUCCEEDED
    assert statuses(rows) == ["succeeded", "succeeded", "failed", "succeeded"]


def test_a_source_that_is_not_the_manifest_s_is_not_worked_on(scans, tmp_path):
    good, wrong = hashlib.sha256(picture(1)).hexdigest(), "0" * 64
    listed = tmp_path / "scans.sha256"
    listed.write_text(f"{good}  a.png\n{wrong} *b.png\n{good}  gone.png\n")
    entries = manifest.of_file(listed, folder=scans, options=OPTIONS)
    restorer = Counting()
    rows = delivered(scans, tmp_path / "out", restorer=restorer, entries=entries)
    assert [(row.status, row.error_code) for row in rows] == [
        ("succeeded", None), ("failed", "input_changed"), ("failed", "input_not_found"),
    ]  # fmt: skip
    assert restorer.given == 1
    assert rows[1].source_sha256 == hashlib.sha256(picture(2)).hexdigest()
    (scans / "a.png").write_bytes(picture(50))
    rows = delivered(scans, tmp_path / "out", entries=entries)
    assert rows[0].error_code == "input_changed", "a result of the right source is no excuse for a wrong one"


def test_a_manifest_s_lines_have_options_and_names_of_their_own_and_faults_are_rows(scans, tmp_path):
    lines = [
        {"source": "a.png", "output": "1969/portrait", "options": {"format": "tiff"}},
        {"source": "a.png"},
        {"source": "a.png"},
        {"source": "../secret.png"},
        {"source": "/etc/passwd"},
        {"source": "b.png", "output": "../../b"},
        {"source": "b.png", "options": {"scale": 9}},
        {"source": "b.png", "sha256": "12"},
        {"source": "b.png", "colour": "red"},
        {"source": "b.png", "options": {"model": "restoreformer"}},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\nno json\n\n")
    entries = manifest.of_file(path, folder=scans, options=OPTIONS)
    rows = delivered(scans, tmp_path / "out", entries=entries)
    assert [row.number for row in rows] == list(range(1, 12))
    assert rows[0].outputs[0].key == "1969/portrait.tif"
    assert rows[1].status is Status.SUCCEEDED
    assert rows[2].status is Status.SKIPPED, "the line before it made the same"
    assert [row.error_code for row in rows[3:9]] == ["bad_row"] * 6
    assert rows[9].error_code == "unsupported_option"
    assert (rows[10].error_code, rows[10].source) == ("bad_row", "no json")
    restorer = Counting()
    assert statuses(delivered(scans, tmp_path / "out", entries=entries, restorer=restorer)) == statuses(rows)
    assert restorer.given == 0


def test_a_table_is_a_manifest_too_and_anything_else_is_refused(scans, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('\ufeffid,source,sha256\r\n7,"sub/d.png",\r\n8\r\n')
    entries = manifest.of_file(path, folder=scans, options=OPTIONS)
    assert [(e.source, e.fault and e.fault[0]) for e in entries] == [("sub/d.png", None), ("", "bad_row")]
    for text in (b"", b"key,hash\na,b\n", b"\xff\xfe", b'source\n"a\n'):
        path.write_bytes(text)
        with pytest.raises(ManifestUnreadable):
            manifest.of_file(path, folder=scans, options=OPTIONS)


def test_names_that_no_report_can_hold_are_told(scans):
    try:
        Path(os.fsdecode(os.fsencode(scans) + b"/\xff.png")).write_bytes(picture())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    entries = {entry.source: entry for entry in manifest.of_folder(scans, recursive=True)}
    assert entries["\\xff.png"].fault


def test_results_lie_apart_from_the_sources(tmp_path):
    scans = put(tmp_path / "scans", a_png=picture())
    (tmp_path / "link").symlink_to(scans)
    for out in (scans, scans / "out", tmp_path, tmp_path / "link" / "out"):
        with pytest.raises(FileRefused, match="must lie apart"):
            require_apart(scans, out)
    require_apart(scans, tmp_path / "scans-mended")


def test_two_runs_never_share_a_folder_and_a_damaged_journal_is_named(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(FileRefused, match="Another photomend"):
        Journal(tmp_path)
    journal.close()
    (tmp_path / ".photomend" / "rows.jsonl").write_bytes(b'{"source": "a"}\n{"x": 1}\n')
    with pytest.raises(FileRefused, match="damaged"):
        Journal(tmp_path)


def test_what_a_killed_run_left_half_written_is_gone(scans, tmp_path):
    out = tmp_path / "out"
    left = [out / ".photomend" / "parts" / ".a.png.0123abcd.part", out / report.FOLDER / ".report.csv.0123abcd.part"]
    for path in left:
        put(path.parent, **{path.name: b"half"})
    delivered(scans, out)
    assert not any(path.exists() for path in left)
    assert not list(out.rglob("*.part"))


def test_a_report_that_does_not_account_for_every_line_is_not_written(tmp_path):
    heading = Heading(title="t", source="s", output="o", made_by="p", made_at="now")
    with pytest.raises(RowsMissing):
        report.write(
            [Row(number=1, source="a", status=Status.FAILED)],
            expected=2,
            out=tmp_path,
            heading=heading,
            origin=ORIGIN,
            pictures=lambda _: (),
        )
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_the_sheet_shows_flagged_pictures_and_an_even_spread_of_the_rest(tmp_path):
    from jobs.delivery.html import MOST_SAMPLES
    from jobs.delivery.rows import OutputFile, ReviewNote

    sampler, image = Sampler(), OutputFile(part="image", key="a", sha256="0", bytes=1)
    note = ReviewNote(face="a", code="tiny", reason="r")
    for number in range(1, 10_001):
        flags = (note,) if number % 1000 == 0 else ()
        sampler.add(Row(number=number, source="a", status=Status.SUCCEEDED, outputs=(image,), review=flags))
        sampler.add(Row(number=number, source="a", status=Status.FAILED))
    chosen = sampler.chosen()
    assert len(chosen) == MOST_SAMPLES
    assert [row.number for row in chosen[:10]] == [1000 * n for n in range(1, 11)]
    spread = [row.number for row in chosen[10:]]
    assert spread == sorted(spread)
    assert spread[0] < 1000
    assert spread[-1] > 8000


def test_a_small_copy_is_a_jpeg_that_every_browser_shows(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(LOSSLESS["tiff-gray-8"]())
    with Image.open(io.BytesIO(sheet.small_copy(path, limits=Limits()))) as small:
        assert (small.format, small.mode) == ("JPEG", "RGB")
        assert max(small.size) <= thumbnail.SIDE_PX


def test_the_display_tells_rate_and_rest_and_what_failed(tmp_path):
    from jobs.delivery.summary import Summary

    stream, summary = io.StringIO(), Summary()
    display = Display(Console(file=stream, width=200))
    rows = [
        Row(number=1, source="a", status=Status.SUCCEEDED),
        Row(number=2, source="b", status=Status.FAILED, error_code="image_truncated", error="Cut."),
        Row(number=3, source="c", status=Status.SUCCEEDED, warnings=("preview_weights",)),
    ]
    with display.following(3):
        for row in rows:
            display.told(row, worked=row.number != 3)
            summary.add(row)
    display.summary(summary, folder=tmp_path)
    shown = stream.getvalue()
    assert "b: Cut. [image_truncated]" in shown
    assert "2 of 3 pictures have a result, 1 done already, 1 failed" in shown
    assert "preview" in shown
    assert str(tmp_path) in shown


def test_a_lane_runs_all_work_on_one_thread_and_gives_back_what_it_gives():
    import threading

    lane = run.Lane()
    names = {lane(threading.get_ident, stage=None, megapixels=1.0) for _ in range(3)}
    assert len(names) == 1
    assert threading.get_ident() not in names
    with pytest.raises(ZeroDivisionError):
        lane(lambda: 1 // 0, stage=None, megapixels=1.0)
    lane.close()


def test_a_bag_holds_what_the_report_names_and_is_verified(scans, tmp_path):
    import bagit

    out, place = tmp_path / "out", tmp_path / "deep" / "bag"
    rows = delivered(scans, out)
    put(out, stray_png=b"nobody's")
    contents = Packing(out=out, place=place, info={"Contact-Name": "A"}, program="photomend", version="1")()
    assert contents.statuses == {"succeeded": 3, "failed": 1, "skipped": 0, "canceled": 0}
    bag = bagit.Bag(str(place))
    bag.validate()
    assert bag.info["Contact-Name"] == "A"
    names = {f"data/{output.key}" for row in rows for output in row.outputs}
    of_report = {f"data/{report.FOLDER}/{n}" for n in (report.CSV, report.JSON_LINES, report.PAGE, report.PREMIS)}
    assert set(bag.payload_entries()) == names | of_report
    assert len(names) == 6
    assert (place / "data" / "a.png").samefile(out / "a.png"), "no second copy of terabytes"
    with pytest.raises(FileRefused, match="exists"):
        Packing(out=out, place=place, info={}, program="photomend", version="1")()
    copied = Packing(out=out, place=tmp_path / "copy", info={}, program="photomend", version="1", copies=True)
    copied()
    assert not (tmp_path / "copy" / "data" / "a.png").samefile(out / "a.png")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda out: (out / "a.png").write_bytes(b"rotten"), "not what the report says: a.png"),
        (lambda out: (out / "sub" / "d.provenance.json").unlink(), "missing: sub/d.provenance.json"),
    ],
)
def test_no_bag_is_made_of_what_is_not_the_report_s(scans, tmp_path, spoil, words):
    out, place = tmp_path / "out", tmp_path / "bags" / "bag"
    delivered(scans, out)
    spoil(out)
    with pytest.raises(NotDelivered, match=words):
        Packing(out=out, place=place, info={}, program="photomend", version="1")()
    assert list(place.parent.iterdir()) == [], "nothing half made is left"
    with pytest.raises(FileRefused, match="must not lie in"):
        Packing(out=out, place=out / "bag", info={}, program="photomend", version="1")()


def test_an_unfinished_delivery_is_bagged_only_on_purpose(scans, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        delivered(scans, out, restorer=Counting(stop_after=1))
    packing = Packing(out=out, place=tmp_path / "bag", info={}, program="photomend", version="1")
    with pytest.raises(NotDelivered, match="3 lines"):
        packing()
    packing.incomplete = True
    assert packing().statuses["canceled"] == 3


@pytest.fixture(scope="module")
def signer(tmp_path_factory) -> tuple[Path, Path]:
    """A certificate of a test authority, and its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        words = {NameOID.COUNTRY_NAME: "DE", NameOID.ORGANIZATION_NAME: "Tests", NameOID.COMMON_NAME: common}
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in words.items()])

    def certificate(common: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        uses = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, **uses
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )
        if not is_authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(authority, hashes.SHA256())

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    folder, pem = tmp_path_factory.mktemp("signer"), serialization.Encoding.PEM
    chain = [certificate("signer", own, is_authority=False), certificate("authority", authority, is_authority=True)]
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    (folder / "key.pem").write_bytes(
        own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "chain.pem", folder / "key.pem"


def packed(out: Path, place: Path, folder: Path, signer: tuple[Path, Path]) -> Packing:
    words = {"program": "photomend", "version": "1"}
    return Packing(
        out=out, place=place, info={}, sign=Credentials.read(*signer, sources=folder, out=out, **words), **words
    )


def test_delivered_copies_carry_credentials_that_verify_and_the_same_pixels(tmp_path, signer):
    import bagit
    import c2pa
    import numpy as np

    pictures = {"a_png": picture(1), "b.tif": LOSSLESS["tiff-rgb-16"](), "c.webp": as_webp(), "bad.jpg": picture(4)}
    folder = put(tmp_path / "scans", **pictures)
    out, place = tmp_path / "out", tmp_path / "bag"
    rows = delivered(folder, out)
    assert packed(out, place, folder, signer)().signed == 4
    bagit.Bag(str(place)).validate()
    for row in rows:
        signed, plain = place / "data" / row.image.key, out / row.image.key
        manifest_ = credentials.read(c2pa, signed)
        [opened, edited] = credentials._actions(manifest_)
        assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
        assert edited["digitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")
        assert row.recipe_sha256 in edited["description"]
        assert [(one["title"], one["relationship"]) for one in manifest_["ingredients"]] == [(row.source, "parentOf")]
        one, other = (codec_read(path.read_bytes()) for path in (signed, plain))
        assert np.array_equal(one.samples, other.samples)
        assert sha256_of(plain) == row.image.sha256, "the result itself stays as it was"
    signed = place / "data" / "a.png"
    assert sha256_of(signed) in (place / "data" / report.FOLDER / report.PREMIS).read_text()
    # Told apart from a picture that was changed afterwards.
    data = bytearray(signed.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 1
    signed.unlink()
    signed.write_bytes(data)
    with pytest.raises(NotDelivered, match="Invalid"):
        credentials.read(c2pa, signed)


def as_webp() -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(3))).convert("RGB").save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def test_nothing_is_signed_without_its_source_or_by_a_key_that_is_none(scans, tmp_path, signer):
    out = tmp_path / "out"
    delivered(scans, out)
    (scans / "a.png").write_bytes(picture(8))
    with pytest.raises(NotDelivered, match="not the one of the report"):
        packed(out, tmp_path / "bag", scans, signer)()
    assert not (tmp_path / "bag").exists()
    (tmp_path / "none.pem").write_text("no key")
    for key in (tmp_path / "none.pem", tmp_path / "absent.pem"):
        with pytest.raises(FileRefused):
            packed(out, tmp_path / "bag", scans, (signer[0], key))
