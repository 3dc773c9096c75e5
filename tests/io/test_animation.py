"""GIF files as another program reads them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bcq_exp.io.animation import WIDTH, animation_of, write_animation


def read(path: Path) -> list[Image.Image]:
    """Its frames in colours; their `info` has the duration in milliseconds."""
    with Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(image.convert("RGB"))
            frames[-1].info = dict(image.info)
        return frames


def test_frames_have_their_order_their_colours_and_their_time(tmp_path: Path) -> None:
    shown = [np.full((20, 30, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 200, 0), (0, 200, 0), (0, 0, 200))]
    write_animation(tmp_path / "a.gif", shown, fps=20)
    frames = read(tmp_path / "a.gif")
    assert [frame.getpixel((7, 3)) for frame in frames] == [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    assert [frame.info["duration"] for frame in frames] == [50, 100, 50]
    assert (frames[0].size, frames[0].info["loop"]) == ((30, 20), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize(("fps", "milliseconds"), [(4, 250), (30, 30), (50, 20), (1000, 20)])
def test_a_frame_lasts_as_long_as_a_gif_can_say(tmp_path: Path, fps: float, milliseconds: int) -> None:
    write_animation(tmp_path / "a.gif", [np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)], fps)
    assert read(tmp_path / "a.gif")[0].info["duration"] == milliseconds


def test_wide_frames_are_made_smaller(tmp_path: Path) -> None:
    left, right = np.zeros((300, 240, 3), np.uint8), np.full((300, 240, 3), 240, np.uint8)
    write_animation(tmp_path / "a.gif", [np.hstack([left, right])], fps=10)
    (frame,) = read(tmp_path / "a.gif")
    assert frame.size == (WIDTH, 200)
    assert [frame.getpixel((column, 100)) for column in (10, WIDTH - 10)] == [(0, 0, 0), (240, 240, 240)]


def test_the_file_names_the_checkpoint() -> None:
    path = animation_of(Path("runs/a/checkpoints/update_00000020"))
    assert path == Path("runs/a/evaluation_update_00000020.gif")
