"""Shipped workflows, run as a person runs them, and what their videos show."""

import json
import subprocess
import sys

from vdit.host import cli


def run(path, tmp_path, capsys, *more):
    assert cli.main(["run", str(path), "--base", str(tmp_path), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def run_command(path, tmp_path, *more):
    """As a person does: a process of its own, so that its peak memory is the run's."""
    command = [sys.executable, "-m", "vdit.host", "run", str(path), "--base", str(tmp_path), "--json", *more]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def frames_of(path):
    """uint8 [T,H,W,3] of a video file."""
    import av
    import numpy as np

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def psnr(frame, picture_file):
    """dB between a frame and the picture, resized to cover it and cropped to the centre."""
    import numpy as np
    from PIL import Image, ImageOps

    size = (frame.shape[1], frame.shape[0])
    picture = ImageOps.fit(Image.open(picture_file).convert("RGB"), size, Image.Resampling.BICUBIC)
    error = ((np.asarray(picture, dtype=float) - frame) ** 2).mean()
    return float(10 * np.log10(255**2 / error))


def nodes_of(path, kind):
    return [node for node in json.loads(path.read_text("utf-8"))["nodes"] if node["type"] == kind]
