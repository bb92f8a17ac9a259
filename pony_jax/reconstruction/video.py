"""Moving pictures: `.mp4` (H.264, by ffmpeg) and `.webp`."""

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

SUFFIXES = (".mp4", ".webp")


def write_video(path: Path, frames: Sequence[Image.Image], frames_per_second: float) -> None:
    """Writes frames that loop; the same frames give the same bytes.

    Args:
      path: ends in one of `SUFFIXES`.
      frames: pictures of one size, whose sides are even for `.mp4`.

    Raises:
      ValueError: for another suffix, no frames, or sizes that do not fit.
      OSError: if the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    if not frames or len({frame.size for frame in frames}) != 1:
        raise ValueError(f"{path.name}: expected at least one frame, and all of one size")
    if path.suffix == ".webp":
        path.write_bytes(encode_webp(frames, frames_per_second))
        return
    width, height = frames[0].size
    if width % 2 or height % 2:
        raise ValueError(f"{path.name}: expected even sides for .mp4, got {width} x {height}")
    # Called here, not by imageio_ffmpeg.write_frames, which forks in a way that JAX may not
    # survive. One thread and no metadata, so that bytes depend on nothing but the frames.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(frames_per_second), "-i", "-"]
    command += ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command += ["-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact", str(path)]
    data = b"".join(np.asarray(frame.convert("RGB")).tobytes() for frame in frames)
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"{path}: ffmpeg cannot write it: {done.stderr.decode().strip()}")


def encode_webp(frames: Sequence[Image.Image], frames_per_second: float) -> bytes:
    """The bytes of an animated WebP that loops for ever."""
    data = io.BytesIO()
    first, *others = frames
    first.save(
        data,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=round(1000 / frames_per_second),
        loop=0,
        quality=75,
        method=2,
    )
    return data.getvalue()
