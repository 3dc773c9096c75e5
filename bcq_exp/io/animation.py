"""Animations of evaluated episodes: GIF files beside the checkpoints' run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bcq_exp.io.files import replacing

WIDTH = 320  # pixels, at most
SHORTEST = 20  # milliseconds of a frame; programs show shorter ones slowly


def animation_of(checkpoint: Path) -> Path:
    """The file of the episode that a checkpoint's policy was shown in, `RUN/evaluation_update_N.gif`."""
    return checkpoint.parents[1] / f"evaluation_{checkpoint.name}.gif"


def write_animation(path: Path, frames: Sequence[NDArray[Any]], fps: float) -> None:
    """Write a GIF that repeats, whole or not at all; frames wider than `WIDTH` are made smaller.

    Args:
        path: the file.
        frames: at least one, uint8 (H, W, 3), in red, green and blue, all of one size.
        fps: frames a second. A GIF counts in hundredths of a second, and shows 50 at most.

    Raises:
        OSError: the file cannot be written.
    """
    first, *others = [_image(frame) for frame in frames]
    duration = max(SHORTEST, 10 * round(100 / fps))
    with replacing(path) as partial:
        first.save(partial, "GIF", save_all=True, append_images=others, duration=duration, loop=0)


def _image(frame: NDArray[Any]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.BOX)
    return image.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
