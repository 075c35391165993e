"""How an activation is rounded to uint8, and the weights that it is multiplied with to int8.

Weights are int8 per output channel, symmetric; an activation is uint8 with one scale and one zero point. That scale is
coarse where a few channels are far larger than all others, as in the outputs of a BERT's activation function. Two
remedies exist. Both add operations at run time, so one is used only where it leaves at most `_WORTH` of the error:

- smoothing: channels are divided by factors that the rows of the weights are multiplied by (SmoothQuant, arXiv
  2211.10438, equation 4);
- outliers: the largest channels are multiplied in float32 instead (LLM.int8(), arXiv 2208.07339). This is cheaper than
  smoothing where one product alone reads a wide activation and makes it narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FULL = 127
# Largest weight that is exact on x86 without VNNI, which adds two products with a uint8 in 16 bits: 2 x 255 x 64 < 2^15
# (onnxruntime#6004).
REDUCED = 64

_WORTH = 0.5
_ALPHAS = (0.7, 0.8, 0.9, 1.0)
_OUTLIERS = (1, 2, 4)
_TOKENS = 512  # that errors are compared on; ranges are those of all tokens
_SMOOTH_LIMITS = (1 / 64, 64.0)  # both factors stay in the range of float16, the type of TensorRT's graphs


@dataclass(frozen=True)
class Rounding:
    """How an activation becomes uint8: ``rint(value / smooth / scale) + zero_point``, clipped to 0..255.

    :param smooth: float32 [inputs]; the rows of the weights are multiplied by it. None: no smoothing.
    :param outliers: channels that are multiplied in float32; their int8 weights are 0.
    :param largest: largest absolute weight in int8.
    """

    scale: float
    zero_point: int
    smooth: NDArray[np.float32] | None = None
    outliers: tuple[int, ...] = ()
    largest: int = FULL

    def weight(self, weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return the int8 weight to multiply a rounded activation with, and its scales, as `quantize_weight` does."""
        scaled = weight.copy() if self.smooth is None else weight * self.smooth[:, None]
        scaled[list(self.outliers)] = 0
        return quantize_weight(scaled, self.largest)

    def product(self, values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what an int8 graph computes for ``values @ weight``: [tokens, inputs], [inputs, outputs]."""
        smoothed = values if self.smooth is None else values / self.smooth
        rounded = np.clip(np.rint(smoothed / np.float32(self.scale)) + self.zero_point, 0, 255) - self.zero_point
        integers, scales = self.weight(weight)
        outliers = list(self.outliers)
        products = rounded.astype(np.float32) @ integers.astype(np.float32) * (np.float32(self.scale) * scales)
        result: NDArray[np.float32] = products + values[:, outliers] @ weight[outliers]
        return result


def quantize_weight(weight: NDArray[Any], largest: int = FULL) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to int8, symmetric per output channel: ``weight ~ integers * scales``.

    :param weight: float [inputs, outputs].
    :returns: int8 [inputs, outputs] in -largest..largest, float32 [outputs].
    """
    reach = np.abs(weight).max(axis=0)
    scales = np.where(reach > 0, reach / largest, 1.0).astype(np.float32)
    return np.clip(np.rint(weight / scales), -largest, largest).astype(np.int8), scales


def smoothing(values: NDArray[np.float32], weight: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Return what to divide channels by, with a geometric mean of about 1: float32 [inputs].

    :param values: [tokens, inputs].
    :param weight: [inputs, outputs].
    :param alpha: 1 makes all channels equally large, 0 all rows of the weight.
    """
    largest, heaviest = (np.maximum(np.abs(array).max(axis=axis), 1e-4) for array, axis in ((values, 0), (weight, 1)))
    ratio = largest**alpha / heaviest ** (1 - alpha)
    factors: NDArray[np.float32] = np.clip(ratio / np.exp(np.log(ratio).mean()), *_SMOOTH_LIMITS).astype(np.float32)
    return factors


def choose_rounding(
    values: NDArray[np.float32], weights: Sequence[NDArray[np.float32]], *, largest: int = FULL
) -> Rounding:
    """Choose the rounding of an activation by the error of the products that read it.

    :param values: the activation on real rows, without padding: [tokens, inputs].
    :param weights: [inputs, outputs] each.
    :param largest: largest absolute weight in int8.
    """
    weight = np.concatenate(weights, axis=1)
    sample = values[np.random.default_rng(0).permutation(len(values))[:_TOKENS]]
    exact = sample @ weight

    def error(rounding: Rounding) -> float:
        return float(np.sqrt(np.square(rounding.product(sample, weight) - exact).mean()))

    narrowing = len(weights) == 1 and weight.shape[0] > weight.shape[1]
    remedies = _without_outliers(values, weight) if narrowing else _smoothed(values, weight)
    plain, *others = (replace(rounding, largest=largest) for rounding in (_rounding(values), *remedies))
    least, best = min(((error(remedy), remedy) for remedy in others), key=lambda pair: pair[0])
    return best if least <= _WORTH * error(plain) else plain


def _smoothed(values: NDArray[np.float32], weight: NDArray[np.float32]) -> Iterator[Rounding]:
    for alpha in _ALPHAS:
        smooth = smoothing(values, weight, alpha)
        yield _rounding(values / smooth, smooth=smooth)


def _without_outliers(values: NDArray[np.float32], weight: NDArray[np.float32]) -> Iterator[Rounding]:
    """Leave out the channels with the largest values and weights."""
    order = np.argsort(np.abs(values).max(axis=0) * np.abs(weight).max(axis=1))[::-1]
    for count in _OUTLIERS:
        outliers = tuple(sorted(order[:count].tolist()))
        yield _rounding(np.delete(values, outliers, axis=1), outliers=outliers)


def _rounding(values: NDArray[np.float32], **remedy: Any) -> Rounding:
    """Cover the whole range: clipping the largest values lowers the mean error, but raises that of a few rows a lot."""
    low, high = min(float(values.min(initial=0.0)), 0.0), max(float(values.max(initial=0.0)), 0.0)
    scale = float(np.float32(max(high - low, 1e-6) / 255))
    return Rounding(scale, round(-low / scale), **remedy)
