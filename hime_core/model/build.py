"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hime_core.model.checkpoint import load_spynet
from hime_core.model.hime import Aggregation, Alignment, Hime, HimeConfig


def build_small(
    scale: int = 4, steps: int = 4, alignment: Alignment = "deformable", aggregation: Aggregation = "cofa"
) -> Hime:
    """HIME (small). Four deformable steps are what comes closest to the paper's Table 1; one is the literal Eq. 4."""
    return Hime(HimeConfig(scale=scale, steps=steps, alignment=alignment, aggregation=aggregation))


def build_large(scale: int = 4, steps: int = 5, aggregation: Aggregation = "cofa", spynet: Path | None = None) -> Hime:
    """HIME (large): flow guidance by SpyNet at half the HR size. With five steps every GMAC figure of the paper's
    Table 1 is met within 1 %; its 9.23 M parameters are not.

    spynet: a file of published SpyNet weights; without, its flow starts at zero and is learned with the rest.
    Raises CheckpointError.
    """
    config = HimeConfig(scale=scale, steps=steps, alignment="flow", aggregation=aggregation, flow_upscale=scale // 2)
    model = Hime(config)
    if spynet is not None and model.flow is not None:
        model.flow.spynet = load_spynet(spynet)
    return model


def build_tiny(scale: int = 4, aggregation: Aggregation = "cofa") -> Hime:
    """A network of our own for CPUs and references that arrive registered: shallow, aligned in one step of few groups,
    nothing computed at HR size."""
    return Hime(
        HimeConfig(
            scale=scale,
            lr_blocks=2,
            hr_blocks=1,
            reconstruction_blocks=12,
            groups=2,
            steps=1,
            guide_convs=1,
            aggregation=aggregation,
            tail="direct",
        )
    )


VARIANTS: dict[str, Callable[..., Hime]] = {"tiny": build_tiny, "small": build_small, "large": build_large}


def build(variant: str, scale: int = 4, **options: object) -> Hime:
    """A network by the name of its variant; options: keywords of its builder.

    Raises ValueError for an unknown variant or one that does not take an option.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; it must be one of {', '.join(VARIANTS)}")
    try:
        return VARIANTS[variant](scale, **options)
    except TypeError as error:
        raise ValueError(f"{variant} does not take {', '.join(options)}: {error}") from error
