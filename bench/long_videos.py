"""How the bundled model's time and memory grow with a video's length: python bench/long_videos.py [SECONDS ...]

Each length is sampled in a process of its own, after a clip of 5 s: processor time per second of video, and the peak of
memory over what the process had before. Aim, from 30 to 120 s: 1.15 times the time per second, 1.1 times the memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

CHILD = "--child"


def sample(seconds: float) -> None:
    """Sample one video of 128x128 at 8 fps from words, and print what it took."""
    from vdit.host import api
    from vdit.nodes.encode import VDiTEncodeConditioning
    from vdit.nodes.load import BUNDLED, VDiTLoadModel
    from vdit.nodes.sample import VDiTSample

    model = VDiTLoadModel.execute(BUNDLED)[0]
    conditioning = VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0)[0]
    settings = dict(steps=20, guidance=1.0, shift=1.0, solver="unipc", fps=8.0, width=128, height=128)

    def run(length: float) -> float:
        start = time.process_time()
        api.call(VDiTSample, dict(model=model, conditioning=conditioning, seed=1, seconds=length, **settings))
        return time.process_time() - start

    run(5.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    taken = run(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{seconds:g} s: {taken:.2f} s of processor, {1e3 * taken / seconds:.0f} ms for each second, "
        f"peak {peak:.2f} GB ({before:.2f} GB before)"
    )


def main() -> None:
    if sys.argv[1:2] == [CHILD]:
        sample(float(sys.argv[2]))
        return
    for length in sys.argv[1:] or ["10", "30", "60", "120"]:
        subprocess.run([sys.executable, "-P", __file__, CHILD, length], check=True)


if __name__ == "__main__":
    main()
