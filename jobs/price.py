"""What a device's time costs, by the operator's word."""

from __future__ import annotations

from dataclasses import dataclass

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of a device costs."""

    hour: float
    currency: str  #: ISO 4217

    def of(self, gpu_s: float) -> float:
        """What so many seconds cost."""
        return self.hour * gpu_s / _HOUR_S
