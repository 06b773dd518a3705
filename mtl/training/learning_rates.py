"""Default learning rates by the size of the encoder, unless its entry in the catalogue has one of its own.

The code decides no result: a run records its learning rate, and the key of a study run includes it.
"""

from __future__ import annotations

from typing import NamedTuple

from mtl.config.encoder_catalogue import entry_of

DECIDES_RESULTS = False


class DefaultRate(NamedTuple):
    """A default learning rate.

    Args:
        largest: Largest hidden size that it is for; None for all larger ones.
        learning_rate: Peak learning rate of the encoder.
        reason: Where it comes from.
    """

    largest: int | None
    learning_rate: float
    reason: str


TABLE = (
    # experiments/results/learning_rates.md; at a third of it, trainings on few rows end before they have learned.
    DefaultRate(512, 1.5e-4, "small encoder: the higher of the two rates of five with the fewest collapses, 1 in 35"),
    DefaultRate(1023, 3e-5, "base size: the middle of 2e-5 to 5e-5 (Devlin et al. 2019); published recipes agree"),
    DefaultRate(None, 1e-5, "large: higher rates often collapse on small data (Mosbach et al. 2021)"),
)
"""By hidden size, because it is known without the weights and does not depend on the vocabulary or shared layers.

The number of parameters of typical encoders: up to 512 MiniLM (22 M) and ELECTRA-small (14 M), up to 1023 DistilBERT
(66 M), BERT-base and PubMedBERT (110 M), above BERT-large (335 M).
"""


def rate_reason(learning_rate: float | None, hidden_size: int, encoder: str = "") -> str:
    """The learning rate of the encoder with its reason, for people.

    Args:
        learning_rate: The learning rate that the user set; None means the default.
        hidden_size: Width of the encoder's states.
        encoder: Its name in the mixture.

    >>> rate_reason(2e-4, 384)
    '2.0e-4 (hidden size 384; set, the default is 1.5e-4)'
    """
    default = default_rate(hidden_size, encoder)
    size = f"hidden size {hidden_size}"
    if learning_rate is None:
        return f"{_short(default.learning_rate)} ({size}; {default.reason})"
    return f"{_short(learning_rate)} ({size}; set, the default is {_short(default.learning_rate)})"


def _short(rate: float) -> str:
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def default_rate(hidden_size: int, encoder: str = "") -> DefaultRate:
    """The default learning rate for an encoder: that of its entry in the catalogue, or that for its size.

    Args:
        hidden_size: Width of the encoder's states.
        encoder: Name of the encoder in the mixture.

    >>> [default_rate(size).learning_rate for size in (384, 768, 1024)]
    [0.00015, 3e-05, 1e-05]
    """
    return entry_rate(encoder) or next(one for one in TABLE if one.largest is None or hidden_size <= one.largest)


def entry_rate(encoder: str) -> DefaultRate | None:
    """The default learning rate of an entry in the catalogue; None if the encoder is none, or has no rate of its own.

    >>> entry_rate("bioclinical-modernbert-large").learning_rate
    2e-05
    """
    entry = entry_of(encoder) if encoder else None
    if entry is None or entry.defaults is None or entry.defaults.learning_rate is None:
        return None
    return DefaultRate(None, entry.defaults.learning_rate, f"default of '{entry.name}': {entry.defaults.reason}")
