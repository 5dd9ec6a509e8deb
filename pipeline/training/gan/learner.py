"""One network that learns: shared by all processes, with its optimiser, its rate and the check on its gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.precision import DTYPES
from pipeline.precision import Precision as Reduced
from pipeline.training.errors import Diverged
from pipeline.training.gan.options import Run
from pipeline.training.gan.rates import rate_at
from pipeline.training.processes import Processes

#: What float16's losses are first multiplied by, so that small gradients do not vanish; it is adapted.
FIRST_SCALE = 2.0**10


class Learner:
    """A network and what makes it learn.

    ``rate`` is its first learning rate, ``betas`` are Adam's. Parameters without ``requires_grad`` stay as they are.
    """

    def __init__(
        self, name: str, network: nn.Module, *, rate: float, betas: tuple[float, float], run: Run, processes: Processes
    ) -> None:
        self.name = name
        self.bare = network.to(processes.device)
        self.shared = processes.share(network)
        self._learning = [p for p in network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(self._learning, lr=rate, betas=betas)
        self._rate, self._run, self._device = rate, run, processes.device
        self._scaler = torch.amp.GradScaler(
            processes.device.type, init_scale=FIRST_SCALE, enabled=run.precision == "float16"
        )
        self._bad_in_a_row = 0

    def __call__(self, *inputs: Any) -> Any:
        """The network's answer, in the run's precision, to learn from."""
        with self._precision():
            return self.shared(*inputs)

    def exactly(self, *inputs: Any) -> Any:
        """The same in float32, of which second derivatives are taken."""
        return self.shared(*inputs)

    def opinion(self, *inputs: Any) -> Any:
        """The network's answer for others to learn from; see ``held``."""
        with self._precision():
            return self.bare(*inputs)

    def _precision(self) -> torch.autocast:
        reduced = self._run.precision != "float32"
        dtype = DTYPES[Reduced(self._run.precision)] if reduced else torch.bfloat16
        # Weights cast once would be kept over an optimiser's step within one context; each call has its own.
        return torch.autocast(self._device.type, dtype=dtype, enabled=reduced)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While others learn from it, no gradients for its own parameters are computed."""
        for parameter in self._learning:
            parameter.requires_grad = False
        try:
            yield
        finally:
            for parameter in self._learning:
                parameter.requires_grad = True

    def learn(self, loss: Tensor, step: int) -> Tensor:
        """One step of the optimiser; the gradient's length. Where that is not finite, the weights stay as they are.

        Raises:
            Diverged: it was not finite in too many steps in a row.
        """
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self._learning if p.grad is not None])
        # All processes hold the same mean gradients, and therefore agree.
        if bool(torch.isfinite(norm)):
            self._bad_in_a_row = 0
            for group in self._optimizer.param_groups:
                group["lr"] = rate_at(step, self._rate, self._run.rates)
            self._scaler.step(self._optimizer)
        else:
            self._count_bad(step, loss)
        self._scaler.update()
        return norm

    def _count_bad(self, step: int, loss: Tensor) -> None:
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= self._run.patience:
            raise Diverged(
                f"the {self.name}'s gradient was not finite in {self._bad_in_a_row} steps in a row, up to step "
                f"{step + 1} (its loss there: {float(loss.detach()):g}): lower its rate, or train in float32"
            )

    def state(self) -> dict[str, Any]:
        """Everything that makes it go on as if it had not stopped."""
        return {
            "network": self.bare.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "bad_in_a_row": self._bad_in_a_row,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What ``state`` gave."""
        self.bare.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._bad_in_a_row = int(state["bad_in_a_row"])


@contextmanager
def all_held(learners: list[Learner]) -> Iterator[None]:
    """``Learner.held`` of several."""
    with ExitStack() as stack:
        for learner in learners:
            stack.enter_context(learner.held())
        yield


def averaged(network: nn.Module, *, halves: float) -> torch.optim.swa_utils.AveragedModel:
    """An exponential average of the network's weights, in which one of ``halves`` steps ago counts half.

    It starts as the network itself. Source: the seed project's 0.5 ** (32 / 10000), from StyleGAN2's 10 kimg.
    """
    decay = 0.5 ** (1 / halves)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    )
    average.n_averaged.fill_(1)
    average.eval().requires_grad_(requires_grad=False)
    return average
