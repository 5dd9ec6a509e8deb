"""Every restorer that can be named restores through ``Restorer``, and honours or refuses what it is asked."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import UnsupportedOption
from pipeline.options import RestoreOptions
from pipeline.types import FaceStatus
from tests.unit.pipeline import seeded
from tests.unit.pipeline.canvases import OfArrays


@pytest.fixture(scope="module", params=seeded.RESTORERS)
def model(request, tmp_path_factory):
    """A restorer's name, whether it has noise, and a ``Restorer`` whose folder has its weights."""
    name = request.param
    store = seeded.store(tmp_path_factory.mktemp("weights"), name)
    return name, seeded.RESTORERS[name][2], OfArrays.load(store, device="cpu")


@pytest.fixture(scope="module")
def face():
    rng = np.random.default_rng(2)
    return (0.5 + 0.1 * rng.standard_normal((512, 512, 3))).clip(0, 1).astype(np.float32)


def restored(model, face, **options):
    name, _, restorer = model
    words = {"model": name, "aligned": True, "scale": 1, "background": "none", "gray": "allow-color"}
    result = restorer(face, RestoreOptions(**(words | options)))
    status = FaceStatus.SKIPPED if options.get("strength") == 0 else FaceStatus.RESTORED
    assert [one.status for one in result.faces] == [status], result.faces
    assert result.model["name"] == name
    return result.image


def test_it_restores_and_strength_goes_from_the_input_to_the_network(model, face):
    full, half, none = (restored(model, face, strength=strength) for strength in (1, 0.5, 0))
    assert np.array_equal(none, face)
    assert np.abs(full - face).mean() > 0.01
    assert np.abs(half - (full + face) / 2).max() < 1 / 255


def test_a_seed_is_honoured_or_refused(model, face):
    name, has_noise, restorer = model
    if not has_noise:
        with pytest.raises(UnsupportedOption, match=f"seed cannot be honoured by {name}"):
            restorer.require(RestoreOptions(model=name, aligned=True, background="none", seed=1))
        return
    once, again, other = (restored(model, face, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
