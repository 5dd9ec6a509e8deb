"""What a run does, in photomend's own words: a TOML file with these tables and keys.

Defaults are the published values (arXiv 2101.04061, section 4.1, and its options ``train_gfpgan_v1.yml``); relative
paths are from the working directory. The seed project's own files are read by ``seed_options``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import WeightsMissing
from pipeline.training.errors import WrongOptions

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
#: From, to.
Range = tuple[float, float]
#: A side in pixels: StyleGAN2 doubles from 4, and below 32 an eye is too small to be judged.
Side = Literal[32, 64, 128, 256, 512, 1024]

Architecture = Literal["gfpgan-original", "gfpgan-bilinear", "gfpgan-clean"]
Precision = Literal["float32", "bfloat16", "float16"]


class Section(BaseModel):
    """A table of the file; keys that it does not have are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Section):
    """What is learned from."""

    pictures: Path  #: folder of aligned faces, or an .lmdb with meta_info.txt, as basicsr makes it
    size: Side = 512  #: px; what the pictures measure
    landmarks: Path | None = None  #: of eyes and mouths; ``photomend train landmarks`` makes it
    enlarge_eyes: Positive = 1.4
    mirror: bool = True
    workers: Annotated[int, Field(ge=0)] = 6  #: processes that prepare samples, for each training process


class Degradation(Section):
    """How targets are spoiled; each sample draws uniformly from each range."""

    kernel_px: Annotated[int, Field(ge=1)] = 41
    isotropic: Share = 0.5  #: of the blurs; the others are stretched and turned
    blur_sigma: Range = (0.1, 10)  #: px
    down: Range = (0.8, 8)  #: factor
    noise_sigma: Range | None = (0, 20)  #: grey levels of 255
    jpeg_quality: Range | None = (60, 100)
    shift: Share = 0.3  #: samples whose channels are shifted ...
    shift_levels: Weight = 20  #: ... by at most this
    tone: Share = 0.3  #: samples whose brightness, contrast, saturation and hue change
    brightness: Range | None = (0.5, 1.5)
    contrast: Range | None = (0.5, 1.5)
    saturation: Range | None = (0, 1.5)
    hue: Range | None = (-0.1, 0.1)  #: turns of the colour circle
    gray: Share = 0.01
    gray_targets: bool = False  #: the target of a gray sample is gray too: no colours are invented

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("blur_sigma", "down", "noise_sigma", "jpeg_quality", "brightness", "contrast", "saturation"):
            band = getattr(self, name)
            if band is not None and not 0 <= band[0] <= band[1]:
                raise ValueError(f"{name} goes from {band[0]:g} to {band[1]:g}; wanted is 0 or more, rising")
        if self.kernel_px % 2 == 0:
            raise ValueError(f"kernel_px is {self.kernel_px}; a kernel has a middle only if that is odd")
        if not self.blur_sigma[0] or not self.down[0]:
            raise ValueError("blur_sigma and down start above 0")
        return self


class Generator(Section):
    """The network that restores."""

    architecture: Architecture = "gfpgan-original"
    style: Count = 512
    narrow: Positive = 1
    multiplier: Count = 1
    prior: Path | None = None  #: a StyleGAN2 of the same shape; ``photomend train prior`` makes one
    train_prior: bool = False  #: the decoder learns too, and not only what steers it
    start: Path | None = None  #: a GFPGAN checkpoint to go on from, loaded strictly


class Discriminator(Section):
    """The network that tells real faces from made ones."""

    narrow: Positive = 1
    multiplier: Count = 1
    group: Count = 4  #: pictures whose spread is measured together
    start: Path | None = None


class Components(Section):
    """Discriminators for both eyes and the mouth. Without this table: the ``simple`` variant."""

    weight: Weight = 1  #: of their verdicts
    style_weight: Weight = 200  #: of the distance between their features' Gram matrices
    left_eye: Path | None = None  #: weights to start from
    right_eye: Path | None = None
    mouth: Path | None = None


class Perceptual(Section):
    """VGG-19's view: distances of features and of their Gram matrices."""

    weights: Path  #: torchvision's vgg19-dcbb9e9d.pth, or the normalised stack
    layers: dict[str, Weight] = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
    weight: Weight = 1
    style_weight: Weight = 50


class Identity(Section):
    """ArcFace's view: whether it is the same person."""

    weights: Path  #: arcface_resnet18.pth
    weight: Weight = 10


class Losses(Section):
    """What counts how much. What is left out is off."""

    pixels: Weight = 0.1
    pyramid: Weight = 1
    pyramid_steps: Annotated[int, Field(ge=0)] | None = 50_000  #: then it is off; None = never
    adversarial: Weight = 0.1
    r1: Weight = 10
    r1_every: Count = 16  #: steps
    perceptual: Perceptual | None = None
    identity: Identity | None = None


class PriorLosses(Section):
    """StyleGAN2's own."""

    r1: Weight = 10
    r1_every: Count = 16
    path: Weight = 2
    path_every: Count = 4
    path_batch: Count = 2  #: the path length is measured on so many times fewer pictures
    mixing: Share = 0.9  #: batches of which each picture has two codes


class Rates(Section):
    """Learning rates, of Adam, and how they change."""

    generator: Positive = 2e-3
    discriminator: Positive = 2e-3
    components: Positive = 2e-3
    warmup: Annotated[int, Field(ge=0)] = 0  #: steps
    milestones: tuple[Annotated[int, Field(ge=0)], ...] = (600_000, 700_000)  #: steps at which they are times gamma
    gamma: Positive = 0.5
    periods: tuple[Count, ...] = ()  #: of cosines from the rate to ``least``, instead of milestones
    least: Weight = 0
    restarts: tuple[Annotated[int, Field(ge=0)], ...] = ()  #: steps at which they are the start's times the weight
    restart_weights: tuple[Weight, ...] = ()

    @model_validator(mode="after")
    def _paired(self) -> Self:
        wanted = len(self.periods) or len(self.restarts)
        if len(self.restart_weights) not in {0, wanted}:
            raise ValueError(f"{len(self.restart_weights)} restart_weights; there are {wanted} restarts or periods")
        return self


class Every(Section):
    """Steps between what is written."""

    curves: Count = 100
    checkpoint: Count = 5000
    samples: Count = 5000
    keep: Count = 2  #: checkpoints; older ones are removed


class Validation(Section):
    """Pairs that are restored and measured with each checkpoint; files of the same name belong together."""

    degraded: Path
    originals: Path


class Run(Section):
    """What both kinds of runs have."""

    name: str = "run"
    seed: Annotated[int, Field(ge=0)] = 0
    steps: Count = 800_000
    batch: Count = 12  #: pictures in a step, in all processes together
    precision: Precision = "float32"
    average_halves: Positive = 10_000 / 32  #: steps after which a weight counts half in the average
    tensorboard: bool = False  #: the curves there too, besides curves.csv
    patience: Count = 10  #: steps in a row without finite gradients, after which the run stops
    data: Data
    generator: Generator = Generator()
    discriminator: Discriminator = Discriminator()
    rates: Rates = Rates()
    every: Every = Every()

    @model_validator(mode="after")
    def _rows_at_checkpoints(self) -> Self:
        if self.every.checkpoint % self.every.curves:
            raise ValueError(
                f"every.checkpoint ({self.every.checkpoint}) is a multiple of every.curves ({self.every.curves}), "
                "so that a resumed run's curves are those of one that was never stopped"
            )
        return self


class RestorerRun(Run):
    """A GFPGAN is trained, or trained further."""

    kind: Literal["restorer"] = "restorer"
    degradation: Degradation = Degradation()
    components: Components | None = None
    losses: Losses = Losses()
    validation: Validation | None = None

    @model_validator(mode="after")
    def _landmarks_for_components(self) -> Self:
        if self.components is not None and self.data.landmarks is None:
            raise ValueError("components need data.landmarks; `photomend train landmarks` makes that file")
        if self.generator.start is not None and self.generator.prior is not None:
            raise ValueError("generator.start holds a prior already; leave generator.prior out")
        return self


class PriorRun(Run):
    """A StyleGAN2 is trained, of which a restorer's training can start."""

    kind: Literal["prior"]
    losses: PriorLosses = PriorLosses()

    @model_validator(mode="after")
    def _equalised(self) -> Self:
        if self.generator.architecture == "gfpgan-clean":
            raise ValueError(
                "a prior is trained as gfpgan-original or gfpgan-bilinear, whose layers learn at equal rates"
            )
        if self.generator.prior is not None:
            raise ValueError("generator.prior is of restorers; a prior goes on from generator.start")
        return self


AnyRun = RestorerRun | PriorRun
S = TypeVar("S", bound=BaseModel)


def read(path: Path) -> AnyRun:
    """The options in a TOML file.

    Raises:
        WrongOptions: it cannot be read, has unknown keys or wrong values; all of them are named.
    """
    content = load(path, tomllib.loads, tomllib.TOMLDecodeError)
    kind: type[PriorRun] | type[RestorerRun] = PriorRun if content.get("kind") == "prior" else RestorerRun
    return checked(kind, content, path)


def load(path: Path, parse: Any, error: type[Exception]) -> dict[str, Any]:
    """The file's content as a table.

    Raises:
        WrongOptions: there is no such file, or it holds something else.
    """
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, error) as err:
        raise WrongOptions(f"{path} cannot be read: {err}") from err
    if not isinstance(content, dict):
        raise WrongOptions(f"{path} holds no options")
    return content


def checked(kind: type[S], content: Any, path: Path) -> S:
    """The options as ``kind``.

    Raises:
        WrongOptions: unknown keys, wrong values; all of them are named.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as err:
        raise WrongOptions(f"{path}: " + "; ".join(_fault(one) for one in err.errors())) from err


def _fault(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no option {place}"
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {said}" if place else said


def needed_files(run: AnyRun) -> dict[str, Path]:
    """The weights that the options name, by option."""
    named: dict[str, Path | None] = {
        "generator.prior": run.generator.prior,
        "generator.start": run.generator.start,
        "discriminator.start": run.discriminator.start,
    }
    if isinstance(run, RestorerRun):
        if run.components is not None:
            named |= {
                f"components.{part}": getattr(run.components, part) for part in ("left_eye", "right_eye", "mouth")
            }
        if run.losses.perceptual is not None:
            named["losses.perceptual.weights"] = run.losses.perceptual.weights
        if run.losses.identity is not None:
            named["losses.identity.weights"] = run.losses.identity.weights
    return {option: path for option, path in named.items() if path is not None}


def refuse_missing(run: AnyRun) -> None:
    """Look for every weights file before anything is built.

    Raises:
        WeightsMissing: some are not there; all of them are named.
    """
    missing = [f"{path} ({option})" for option, path in needed_files(run).items() if not path.is_file()]
    if missing:
        raise WeightsMissing(
            f"not there: {', '.join(missing)}. Name the files that you have, or leave the option out, which turns "
            "that part off"
        )
