"""A dry run: everything is looked at, nothing is begun."""

from __future__ import annotations

import itertools

import structlog

from jobs.batches.estimate import Estimate
from jobs.batches.manifest import Entry, ManifestInvalid
from jobs.batches.model import PART_ROWS, Batch, BatchState, Pins
from jobs.codec import dump_json
from worker.batch_hands import Hands, Work, raise_first
from worker.batch_pins import RESTORERS, pins_of
from worker.batch_preparing import PIECES_A_TURN, Preparing
from worker.batch_survey import Look, Survey, look_at

logger = structlog.get_logger(__name__)

#: Of a dry run's sample, so many sources are looked at in one turn.
LOOKS_A_TURN = 32


class DryRun:
    """Says what a batch would come to."""

    def __init__(self, hands: Hands, preparing: Preparing) -> None:
        self._hands = hands
        self._batches = hands.batches
        self._blobs = hands.blobs
        self._place = hands.place
        self._preparing = preparing

    def __call__(self, work: Work) -> bool:
        """Go on; whether there is more to do at once."""
        batch = work.batch
        if batch.state is BatchState.PREPARING:
            return self._preparing.pinning(work, self._survey_some)
        if batch.state is BatchState.CANCELING:
            work.batch = batch = self._batches.note(batch, to=BatchState.COMPLETING)
        ending = batch.ending or BatchState.SUCCEEDED
        work.batch = self._batches.note(batch, to=ending, note="")
        logger.info("dry run ended", state=str(ending), lines=batch.total)
        work.is_over = True
        return False

    def _survey_some(self, work: Work) -> bool:
        survey = work.survey = work.survey or Survey(batch=work.batch)
        if not survey.is_counted:
            if work.lines is None:
                work.lines, work.batch = self._preparing.source(work.batch)
            some = list(itertools.islice(work.lines, PIECES_A_TURN * PART_ROWS))
            for entry, _ in some:
                survey.add(entry)
            if len(some) < PIECES_A_TURN * PART_ROWS:
                survey.close()
            if survey.is_counted and not survey.lines:
                self._preparing.fail_empty(work)
                return False
        elif survey.waiting:
            self._look_at_some(work, survey)
        if survey.is_counted and not survey.waiting:
            work.batch = self._note_estimate(work, self._estimate(work, survey), to=BatchState.COMPLETING)
        else:
            work.batch = self._note_estimate(work, survey.estimate())
        return True

    def _note_estimate(self, work: Work, estimate: Estimate, *, to: BatchState | None = None) -> Batch:
        return self._batches.note(work.batch, to=to, total=estimate.lines, estimate=dump_json(estimate.to_json()))

    def _look_at_some(self, work: Work, survey: Survey) -> None:
        pins = self._present(work)[0]
        some = [survey.waiting.popleft() for _ in range(min(LOOKS_A_TURN, len(survey.waiting)))]

        def look(one: tuple[int, Entry]) -> Look:
            return look_at(
                work.batch,
                *one,
                pins=pins,
                place=self._place,
                blobs=self._blobs,
                max_pixels=self._hands.max_pixels,
            )

        looks = self._hands.each(look, some)
        survey.looks += [one for one in looks if isinstance(one, Look)]
        later = [one for one, outcome in zip(some, looks, strict=True) if isinstance(outcome, Exception)]
        survey.waiting.extendleft(reversed(later))
        raise_first(looks)

    def _present(self, work: Work) -> tuple[Pins | None, tuple[str, ...]]:
        """What the fleet would be pinned to now, as far as it is there, and what is wrong with that."""
        slots = [s for s in self._hands.store.slots() if s.models]
        try:
            return (pins_of(slots, work.batch.spec), ()) if slots else (None, ())
        except ManifestInvalid as err:
            return None, (f"As the fleet is now, the batch would fail (weights_missing): {err}.",)

    def _estimate(self, work: Work, survey: Survey) -> Estimate:
        pins, notes = self._present(work)
        options = work.batch.spec.options
        pace = self._hands.store.paces.of(
            model=pins.model if pins else options.model or RESTORERS[0],
            background=pins.background if pins else options.background.replace("auto", "none"),
            devices=pins.devices if pins else (),
            exact=options.precision == "exact",
        )
        return survey.estimate(pace=pace, has_workers=pins is not None or bool(notes), notes=notes)
