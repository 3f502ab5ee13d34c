"""Light curves that a simulated star can carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError


@dataclass(frozen=True)
class Signal:
    """A relative light curve, 1 where nothing happens; time in days.

    Make one with `sinusoid`, `transit`, `eclipse` or `sampled`; ``Signal()`` is constant.
    """

    kind: str = "constant"
    amplitude: float = 0.0
    omega: float = 0.0
    mid: float = 0.0
    duration: float = 0.0
    ingress: float = 0.0
    period: float = 0.0
    time: tuple[float, ...] = ()
    flux: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "sinusoid", "transit", "sampled"):
            raise InputError(f"signal kind {self.kind!r}: expected constant, sinusoid, transit or sampled")
        if self.kind == "transit" and not 0 < 2 * self.ingress <= self.duration:
            raise InputError(
                f"signal: ingress {self.ingress:g} d and duration {self.duration:g} d: "
                "ingress must be positive and at most half the duration"
            )
        if self.kind == "sampled" and not 1 <= len(self.time) == len(self.flux):
            raise InputError(
                f"signal: {len(self.time)} times for {len(self.flux)} fluxes: expected as many, 1 or more"
            )

    @classmethod
    def sinusoid(cls, amplitude: float, omega: float) -> Signal:
        """``1 + amplitude sin(omega t)``, `omega` in rad/d."""
        return cls("sinusoid", amplitude=amplitude, omega=omega)

    @classmethod
    def transit(
        cls, depth: float, mid: float, duration: float, ingress: float | None = None, period: float = 0.0
    ) -> Signal:
        """A dip of relative `depth` around `mid`, first to fourth contact `duration`, with rounded edges.

        Parameters
        ----------
        depth : float
            Relative loss of light at the bottom.
        mid, duration : float
            Centre and length, d.
        ingress : float, optional
            Length of the ingress, d; a tenth of the duration by default.
        period : float
            Repeat every so many days; 0: once.
        """
        ingress = 0.1 * duration if ingress is None else ingress
        return cls("transit", amplitude=depth, mid=mid, duration=duration, ingress=ingress, period=period)

    @classmethod
    def eclipse(cls, depth: float, mid: float, duration: float, period: float = 0.0) -> Signal:
        """A deep dip without a flat bottom: a transit that is all ingress and egress."""
        return cls.transit(depth, mid, duration, duration / 2, period)

    @classmethod
    def sampled(cls, time: ArrayLike, flux: ArrayLike) -> Signal:
        """Values at given times (days, ascending), linear between them and constant outside."""
        times, values = (np.atleast_1d(np.asarray(v, float)).tolist() for v in (time, flux))
        return cls("sampled", time=tuple(times), flux=tuple(values))

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        """Relative flux at times `t` (days), the same shape as `t`."""
        t = np.asarray(t, float)
        if self.kind == "sinusoid":
            return 1 + self.amplitude * np.sin(self.omega * t)
        if self.kind == "transit":
            phase = t - self.mid
            if self.period > 0:
                phase = (phase + self.period / 2) % self.period - self.period / 2
            # 0 at contact, 1 where the ingress is over; the cosine rounds both corners
            depth = np.clip((self.duration / 2 - np.abs(phase)) / self.ingress, 0, 1)
            return 1 - self.amplitude * 0.5 * (1 - np.cos(np.pi * depth))
        if self.kind == "sampled":
            return np.interp(t, self.time, self.flux)
        return np.ones(t.shape)

    def as_dict(self) -> dict[str, Any]:
        """The fields that say something, for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (0.0, ())}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Signal:
        """The signal that `as_dict` described."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"signal: {error}") from error
