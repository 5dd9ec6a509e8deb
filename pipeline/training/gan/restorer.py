"""One step of GFPGAN's training.

Source: Wang et al. 2021 (arXiv 2101.04061), section 3.4, and the order of updates of the seed project's gfpgan_model:
the generator learns first, then the average follows, then the discriminators learn from the same pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.arch.gfpgan_clean import noise_sides
from pipeline.training.gan import losses, networks
from pipeline.training.gan.components import PARTS
from pipeline.training.gan.learner import Learner, all_held, averaged
from pipeline.training.gan.options import RestorerRun
from pipeline.training.gan.regions import part_px, regions
from pipeline.training.gan.samples import Split, noise_maps
from pipeline.training.processes import Processes

#: Adam's betas of the component discriminators. Source: the seed project's gfpgan_model.
COMPONENT_BETAS = (0.9, 0.99)

#: Adam's second beta per step, which those who also do a regularising step every n steps have n / (n + 1) of.
BETA = 0.99

Figures = dict[str, Tensor]
Parts = dict[str, Tensor]


class RestorerTrainee:
    """A GFPGAN, its average, and the discriminators that teach it.

    Raises:
        WeightsMissing, WeightsCorrupt: a file that the options name is not there, or does not fit.
    """

    def __init__(self, run: RestorerRun, *, part: Split, processes: Processes) -> None:
        self.run, self._part, self._device = run, part, processes.device
        size, rates = run.data.size, run.rates
        mender = networks.Mender(networks.restorer(run.generator, size=size))
        if not run.losses.pyramid:
            mender.network.toRGB.requires_grad_(requires_grad=False)
        common: dict[str, Any] = {"run": run, "processes": processes}
        self.generator = Learner("generator", mender, rate=rates.generator, betas=(0.0, BETA), **common)
        rest = run.losses.r1_every / (run.losses.r1_every + 1)
        judge = networks.discriminator(run.discriminator, size=size)
        self.judge = Learner("discriminator", judge, rate=rates.discriminator, betas=(0.0, BETA**rest), **common)
        self.specialists: dict[str, Learner] = {}
        if run.components is not None:
            for part_name in PARTS:
                network = networks.component_discriminator(getattr(run.components, part_name))
                self.specialists[part_name] = Learner(
                    f"discriminator of the {part_name}",
                    network,
                    rate=rates.components,
                    betas=COMPONENT_BETAS,
                    **common,
                )
        self.average = averaged(self.generator.bare, halves=run.average_halves)
        self._perceptual, self._identity = _helpers(run, processes.device)
        self._sides = noise_sides(size)
        self._eye_px, self._mouth_px = part_px(size)

    def step(self, step: int, batch: dict[str, Tensor]) -> Figures:
        """Everything learns once; the terms that were minimised, and the gradients' lengths."""
        target = batch["target"]
        noise = noise_maps(self._sides, seed=self.run.seed, step=step, part=self._part, device=self._device)
        made, levels = self.generator(batch["degraded"], noise)
        made, levels = made.float(), [level.float() for level in levels]
        real_parts, made_parts = self._parts(target, batch), self._parts(made, batch)
        with all_held([self.judge, *self.specialists.values()]):
            terms = self._likeness(made, target) | self._approval(made, made_parts, real_parts)
            terms |= self._pyramid(step, levels, target)
            norm = self.generator.learn(torch.stack([*terms.values()]).sum(), step)
        self.average.update_parameters(self.generator.bare)
        figures = {name: value.detach() for name, value in terms.items()} | {"norm_generator": norm}
        figures |= self._teach_judge(step, made.detach(), target)
        for name, specialist in self.specialists.items():
            figures |= self._teach_specialist(step, specialist, name, made_parts[name].detach(), real_parts[name])
        return figures

    def _parts(self, faces: Tensor, batch: dict[str, Tensor]) -> Parts:
        """Eyes and mouths cut out of the faces."""
        sides = {"left_eye": self._eye_px, "right_eye": self._eye_px, "mouth": self._mouth_px}
        return {
            name: regions(faces, batch["boxes"][:, PARTS.index(name)], side=sides[name]) for name in self.specialists
        }

    def _likeness(self, made: Tensor, target: Tensor) -> Figures:
        """How far the restored faces are from the true ones, in pixels, features and person."""
        wanted = self.run.losses
        terms = {"pixels": functional.l1_loss(made, target) * wanted.pixels} if wanted.pixels else {}
        if self._perceptual is not None and wanted.perceptual is not None:
            features, style = self._perceptual(made, target)
            terms["features"] = features * wanted.perceptual.weight
            terms["style"] = style * wanted.perceptual.style_weight
        if self._identity is not None and wanted.identity is not None:
            terms["identity"] = self._identity(made, target) * wanted.identity.weight
        return terms

    def _pyramid(self, step: int, levels: list[Tensor], target: Tensor) -> Figures:
        """How far the U-Net's own pictures are. Once off it counts nothing, but stays: its gradients are waited for."""
        wanted = self.run.losses
        if not wanted.pyramid:
            return {}
        on = wanted.pyramid_steps is None or step < wanted.pyramid_steps
        return {"pyramid": losses.pyramid(levels, target) * (wanted.pyramid if on else 0.0)}

    def _approval(self, made: Tensor, made_parts: Parts, real_parts: Parts) -> Figures:
        """What the discriminators think of the restored faces, eyes and mouths."""
        verdict = self.judge.opinion(made).float()
        terms = {"adversarial": losses.taken_for_real(verdict) * self.run.losses.adversarial}
        wanted = self.run.components
        if wanted is None:
            return terms
        style = made.new_zeros(())
        for name, specialist in self.specialists.items():
            scores, seen = specialist.opinion(made_parts[name])
            terms[name] = losses.taken_for_real(scores.float()) * wanted.weight
            with torch.no_grad():
                _, true = specialist.opinion(real_parts[name])
            style = style + losses.component_style([f.float() for f in seen], [f.float() for f in true])
        return terms | {"component_style": style * wanted.style_weight}

    def _teach_judge(self, step: int, made: Tensor, target: Tensor) -> Figures:
        return teach_judge(
            self.judge, step, made=made, real=target, r1=self.run.losses.r1, every=self.run.losses.r1_every
        )

    def _teach_specialist(self, step: int, specialist: Learner, name: str, made: Tensor, real: Tensor) -> Figures:
        made_scores, real_scores = specialist(made)[0], specialist(real)[0]
        loss = losses.told_apart(real_scores.float(), made_scores.float())
        norm = specialist.learn(loss, step)
        return {f"discriminator_{name}": loss.detach(), f"norm_{name}": norm}

    def restore_faces(self, degraded: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] by the averaged weights, with the network's stored noise."""
        with torch.inference_mode():
            mended: Tensor = self.average.module.network(degraded.to(self._device))  # type: ignore[operator]
        return mended.clamp(-1, 1)

    def rows(self, examples: dict[str, Tensor]) -> list[Tensor]:
        """Of a grid: what was given, what became of it, what it should be."""
        degraded = examples["degraded"]
        restored = [self.restore_faces(one[None]).cpu() for one in degraded]
        return [degraded, torch.cat(restored), examples["target"]]

    def state(self) -> dict[str, Any]:
        """Everything that makes it go on as if it had not stopped."""
        learners = {"generator": self.generator, "discriminator": self.judge} | self.specialists
        return {name: learner.state() for name, learner in learners.items()} | {"average": self.averaged_weights()}

    def restore(self, state: dict[str, Any]) -> None:
        """What ``state`` gave."""
        learners = {"generator": self.generator, "discriminator": self.judge} | self.specialists
        for name, learner in learners.items():
            learner.restore(state[name])
        self.average.module.network.load_state_dict(state["average"])  # type: ignore[union-attr]

    def averaged_weights(self) -> dict[str, Tensor]:
        """What is published of it: a GFPGAN's own keys."""
        return dict(self.average.module.network.state_dict())  # type: ignore[union-attr]


def teach_judge(judge: Learner, step: int, *, made: Tensor, real: Tensor, r1: float, every: int) -> Figures:
    """The discriminator learns from both; every so many steps also to be flat around real faces (R1).

    Source: StyleGAN2's lazy regularisation: the penalty counts ``every`` times where it is computed.
    """
    real_scores, made_scores = judge(real).float(), judge(made).float()
    loss = losses.told_apart(real_scores, made_scores)
    figures = {"discriminator": loss.detach(), "score_real": real_scores.detach().mean()}
    figures["score_made"] = made_scores.detach().mean()
    if r1 and step % every == 0:
        around = real.detach().requires_grad_()
        penalty = losses.gradient_penalty(judge.exactly(around), around) * (r1 / 2 * every)
        figures["r1"] = penalty.detach()
        loss = loss + penalty
    return figures | {"norm_discriminator": judge.learn(loss, step)}


def _helpers(run: RestorerRun, device: torch.device) -> tuple[losses.PerceptualLoss | None, losses.IdentityLoss | None]:
    """The pretrained networks that judge likeness, frozen."""
    seen, known = run.losses.perceptual, run.losses.identity
    perceptual = None if seen is None else losses.PerceptualLoss(networks.tensors(seen.weights), seen.layers)
    identity = None
    if known is not None:
        identity = losses.IdentityLoss()
        networks.fit(identity.recogniser, networks.tensors(known.weights), known.weights.name)
    for helper in (perceptual, identity):
        if isinstance(helper, nn.Module):
            helper.to(device)
    return perceptual, identity
