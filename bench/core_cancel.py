"""How soon a real ComfyUI stops each shipped workflow at Cancel: python -m vdit.bench.core_cancel [NAME ...]

With tiny weights, and small, where a workflow's own do not ship; after the second step of whichever node reports steps
first. Aim: 0.5 s. COMFYUI_PATH (and COMFYUI_PYTHON) name the ComfyUI.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import comfy_core  # noqa: E402
from comfy_workflows import BENCHMARK, SHOTS, WAN, shipped, small  # noqa: E402

AIM_S = 0.5
STEPS = 50  # so that there is something left to cancel


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help="workflows; none: all that run")
    names = options.parse_args().names
    paths = [path for path in (*SHOTS, *WAN) if path != BENCHMARK and (not names or path.stem in names)]
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder, comfy_core.started(Path(folder)) as core:
        for path in paths:
            changes = small(path, core.base / "models")  # writes the files that the workflow names, too
            prompt, ui = shipped(core, path)
            for node in prompt.values():
                node["inputs"] |= changes.get(node["class_type"], {})
                if node["class_type"] == "VDiTSample":
                    node["inputs"]["steps"] = STEPS
            done = comfy_core.run(core, prompt, ui, cancel_at_step=2)
            seconds = done.cancel_s
            print(f"{path.stem:24}{'' if seconds is None else f'{seconds:8.3f} s'}  {done.status}", flush=True)
            slowest = max(slowest, seconds or 0.0)
    print(f"slowest {slowest:.3f} s, aim {AIM_S:g} s")
    return int(slowest > AIM_S)


if __name__ == "__main__":
    sys.exit(main())
