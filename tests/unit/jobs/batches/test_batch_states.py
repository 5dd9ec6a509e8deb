"""The table of a batch's states, and what of a batch is a value."""

from __future__ import annotations

import dataclasses
import json

import pytest

from jobs.batches.manifest import Manifest, ManifestFormat, Prefix
from jobs.batches.model import (
    ENDED,
    MOVES,
    PART_ROWS,
    BatchEvent,
    BatchSpec,
    BatchState,
    Pins,
    identity,
    job_id,
    new_batch_id,
)
from jobs.model import ObjectRef, is_job_id
from jobs.options import JobOptions

OUT = ObjectRef(bucket="mended", key="1923/")


def test_the_table_covers_every_state_and_every_state_is_reached() -> None:
    assert set(MOVES) == set(BatchState)
    reached, seen = {BatchState.PREPARING}, set()
    while reached - seen:
        seen |= reached
        reached |= {to for origin in seen for to in MOVES[origin]}
    assert reached == set(BatchState)


def test_from_an_end_there_is_only_a_retry() -> None:
    assert {to for end in ENDED for to in MOVES[end]} == {BatchState.RUNNING}


def test_every_state_leads_to_an_end() -> None:
    leads = set(ENDED)
    while more := {state for state, to in MOVES.items() if to & leads} - leads:
        leads |= more
    assert leads == set(BatchState)


def test_a_parts_bits_are_whole_bytes() -> None:
    assert PART_ROWS % 8 == 0


@pytest.mark.parametrize(
    "source",
    [
        Manifest(ref=ObjectRef(bucket="lists", key="a.csv"), etag="e", format=ManifestFormat.CSV),
        Prefix(bucket="scans", prefix="in/", include=("*.tif",), exclude=("x*",)),
    ],
)
def test_a_spec_is_kept_as_it_is_and_says_the_same_each_time(source: Manifest | Prefix) -> None:
    spec = BatchSpec(
        source=source,
        output=OUT,
        options=JobOptions(scale=3.0, precision="exact"),
        failure_threshold=0.1,
        callback_url="https://example.com/hook",
        callback_events=(BatchEvent.FAILED,),
        metadata={"order": "1"},
    )
    again = BatchSpec.from_json(json.loads(spec.to_json()))
    assert again == spec
    assert again.to_json() == spec.to_json()


def test_an_item_has_one_job_in_a_generation() -> None:
    batch = new_batch_id()
    ids = {job_id(batch, generation, item) for generation in (1, 2) for item in range(50)}
    assert len(ids) == 100
    assert all(is_job_id(one) for one in ids)
    assert job_id(batch, 1, 7) == job_id(batch, 1, 7) != job_id(new_batch_id(), 1, 7)


def test_a_result_is_known_by_source_recipe_and_the_weights_that_took_part() -> None:
    pins = Pins(
        model="preview", background="none", precision="exact", always=("parsenet",), engines=(),
        weights={"preview": "1", "parsenet": "2", "gfpgan-1.4": "3"},
    )  # fmt: skip

    def of(source: str = "s", pinned: Pins = pins, **options: object) -> str:
        said = JobOptions.from_mapping({"model": "preview", "background": "none", **options})
        return identity(source=source, options=said, pins=pinned)

    def with_weights(**changed: str) -> Pins:
        return dataclasses.replace(pins, weights={**pins.weights, **changed})

    assert of() == of(suffix="-x")
    assert of(pinned=with_weights(other="9")) == of(), "weights that take no part change nothing"
    different = {
        of(),
        of("t"),
        of(scale=3),
        of(pinned=with_weights(preview="9")),
        of(pinned=with_weights(parsenet="9")),
    }
    assert len(different) == 5
