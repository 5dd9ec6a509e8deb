"""One step of StyleGAN2's training: faces from nothing but random codes, which become a restorer's prior.

Source: Karras et al. 2020 (arXiv 1912.04958), with the order of updates and the lazy regularisation of basicsr's
stylegan2_model: the discriminator learns first, then the generator, then the average follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.arch.gfpgan_clean import noise_sides
from pipeline.arch.gfpgan_original import Decoder
from pipeline.arch.stylegan2 import Generator
from pipeline.training.gan import losses, networks
from pipeline.training.gan.learner import Learner, averaged
from pipeline.training.gan.options import PriorRun
from pipeline.training.gan.restorer import BETA, Figures, teach_judge
from pipeline.training.gan.samples import CODES, NOISE, Split, coin, noise_maps, randomness
from pipeline.training.processes import Processes

#: Steps of different draws within one training step, so that no two share their numbers.
DRAWS_PER_STEP = 3

#: Faces in a grid.
IMAGINED, IMAGINED_IN_A_ROW = 16, 4

FOR_JUDGE, FOR_GENERATOR, FOR_PATH = range(DRAWS_PER_STEP)


class PriorTrainee:
    """A StyleGAN2, its average, and its discriminator.

    Raises:
        WeightsMissing, WeightsCorrupt: a file that the options name is not there, or does not fit.
    """

    def __init__(self, run: PriorRun, *, part: Split, processes: Processes) -> None:
        self.run, self._part, self._processes = run, part, processes
        size, wanted = run.data.size, run.generator
        decoder = Decoder(
            size=size,
            style=wanted.style,
            narrow=wanted.narrow,
            multiplier=wanted.multiplier,
            resampling="fir" if wanted.architecture == "gfpgan-original" else "bilinear",
        )
        if wanted.start is not None:
            networks.fit(decoder, networks.tensors(wanted.start), wanted.start.name)
        common: dict[str, Any] = {"run": run, "processes": processes}
        rest = run.losses.path_every / (run.losses.path_every + 1)
        self.generator = Learner(
            "generator", Generator(decoder), rate=run.rates.generator, betas=(0.0, BETA**rest), **common
        )
        rest = run.losses.r1_every / (run.losses.r1_every + 1)
        judge = networks.discriminator(run.discriminator, size=size)
        self.judge = Learner("discriminator", judge, rate=run.rates.discriminator, betas=(0.0, BETA**rest), **common)
        self.average = averaged(self.generator.bare, halves=run.average_halves)
        self._sides = noise_sides(size)
        self._mean_length = torch.zeros((), device=processes.device)

    def step(self, step: int, batch: dict[str, Tensor]) -> Figures:
        """Everything learns once; the terms that were minimised, and the gradients' lengths."""
        target, wanted = batch["target"], self.run.losses
        with self.generator.held():
            made, _ = self.generator.opinion(*self._draw(step, FOR_JUDGE, self._part))
        figures = teach_judge(
            self.judge, step, made=made.float().detach(), real=target, r1=wanted.r1, every=wanted.r1_every
        )
        made, _ = self.generator(*self._draw(step, FOR_GENERATOR, self._part))
        with self.judge.held():
            loss = losses.taken_for_real(self.judge.opinion(made.float()).float())
            figures["adversarial"] = loss.detach()
            if wanted.path and step % wanted.path_every == 0:
                term = self._path(step)
                figures |= {"path": term.detach(), "path_length": self._mean_length.clone()}
                loss = loss + term
            figures["norm_generator"] = self.generator.learn(loss, step)
        self.average.update_parameters(self.generator.bare)
        return figures

    def _path(self, step: int) -> Tensor:
        """How unequal the steps are that pictures take for equal steps of their latents, times its weight."""
        fewer = self._part.share // self.run.losses.path_batch or self._part.share
        part = Split(batch=fewer * self._part.world, rank=self._part.rank, world=self._part.world)
        pictures, latents = self.generator.exactly(*self._draw(step, FOR_PATH, part))
        directions = [
            torch.randn(picture.shape, generator=self._random(NOISE, step, FOR_PATH, place), device=picture.device)
            for place, picture in zip(part.places(), pictures, strict=True)
        ]
        lengths = losses.path_lengths(pictures, latents, torch.stack(directions))
        # Of all processes' pictures, so that these do what one process would do with the whole batch.
        mean = self._processes.mean(lengths.detach().mean())
        self._mean_length = torch.lerp(self._mean_length, mean, losses.PATH_DECAY)
        penalty = (lengths - self._mean_length).square().mean()
        return penalty * (self.run.losses.path * self.run.losses.path_every)

    def _draw(self, step: int, draw: int, part: Split) -> tuple[list[Tensor], list[Tensor], int | None]:
        """Codes, noise, and from where on the second codes lead (the same in all processes)."""
        device, style = self._processes.device, self.run.generator.style
        at = step * DRAWS_PER_STEP + draw
        chance = coin(self.run.seed, CODES, at)
        mixed = bool(chance.random() < self.run.losses.mixing)
        crossover = int(chance.integers(1, self.generator.bare.latents)) if mixed else None  # type: ignore[arg-type]
        generators = [self._random(CODES, step, draw, place) for place in part.places()]
        codes = [
            torch.stack([torch.randn(style, generator=g, device=device) for g in generators]) for _ in range(1 + mixed)
        ]
        noise = noise_maps(self._sides, seed=self.run.seed, step=at, part=part, device=device)
        return codes, noise, crossover

    def _random(self, kind: int, step: int, draw: int, place: int) -> torch.Generator:
        at = step * DRAWS_PER_STEP + draw
        # Noise maps have the same kind and step: directions are of places beyond theirs.
        return randomness(self.run.seed, kind, at, place + self.run.batch, self._processes.device)

    def imagine(self, count: int) -> Tensor:
        """The same ``count`` faces each time, by the averaged weights: (count, 3, S, S) in [-1, 1]."""
        device = self._processes.device
        codes = torch.stack(
            [
                torch.randn(self.run.generator.style, generator=randomness(0, CODES, 0, place, device), device=device)
                for place in range(count)
            ]
        )
        with torch.inference_mode():
            made, _ = self.average.module([codes])
        faces: Tensor = made
        return faces.clamp(-1, 1)

    def rows(self, _: dict[str, Tensor]) -> list[Tensor]:
        """Of a grid of made-up faces."""
        return [*self.imagine(IMAGINED).split(IMAGINED_IN_A_ROW)]

    def state(self) -> dict[str, Any]:
        """Everything that makes it go on as if it had not stopped."""
        return {
            "generator": self.generator.state(),
            "discriminator": self.judge.state(),
            "average": self.averaged_weights(),
            "mean_length": self._mean_length,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What ``state`` gave."""
        self.generator.restore(state["generator"])
        self.judge.restore(state["discriminator"])
        self.average.module.decoder.load_state_dict(state["average"])  # type: ignore[union-attr]
        self._mean_length = state["mean_length"].to(self._processes.device)

    def averaged_weights(self) -> dict[str, Tensor]:
        """What is published of it: a StyleGAN2's own keys, which are a GFPGAN's decoder's."""
        return dict(self.average.module.decoder.state_dict())  # type: ignore[union-attr]
