"""Runs VDiT on a machine that has only Python: makes .venv beside itself once, then hands over to the `vdit` command.

    python start.py run WORKFLOW [...]    a workflow to a video file
    python start.py studio                the node graph in the browser
    python start.py test [--fast] [...]   the tests, or those of a minute and a half (arguments go to pytest)
    python start.py test --soak           half an hour of kills, faults and generated cases; output/soak/all.json
    python start.py COMMAND --help        options; any other `vdit` command works the same way

The first run downloads one to four gigabytes, nearly all of it PyTorch; later runs change and download nothing.
On Linux pip takes the CUDA build of PyTorch. Another one (CPU, ROCm; CUDA on Windows) is kept if installed first:
    python -m venv .venv
    .venv/bin/python -m pip install torch==2.13.0 ...    (as pytorch.org says for your machine)
"""

import sys

if sys.version_info < (3, 11):
    found = "%d.%d" % sys.version_info[:2]  # noqa: UP031  read by any Python 3
    sys.exit(
        "start.py: this is Python " + found + "; VDiT needs 3.11 or newer. Get it from python.org, then run "
        "start.py with it."
    )

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "vdit-installed.json"
PROBE = """
import importlib.metadata, torch, numpy, safetensors, tokenizers, av, PIL, tqdm, aiohttp, comfyui_frontend_package
import mujoco, scipy, vdit
for package in importlib.metadata.distributions():
    for file in package.files or ():
        if file.suffix in (".py", ".so", ".pyd", ".dll") and not file.locate().exists():
            raise SystemExit(f"{package.name}: {file} is missing")
"""
# What a command needs; everything needs "standalone".
EXTRAS = {"test": "test", "kernels": "kernels"}
# Files of tests run on all cores, at most four at once (about 2 GB each); `-n 0` runs them in one process, for --pdb.
SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]

# One after another, since they measure time; --soak-minutes gives them another time than the half hour that they share.
SOAK = ["-n", "0", "-s", "-o", "python_files=soak_*.py", "tests/soak"]


class CannotInstall(Exception):
    """What failed, and what to do."""


def main(arguments):
    """Installs what the command needs, then becomes that command. Returns the exit status where it does not."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return 0
    try:
        install(EXTRAS.get(arguments[0]))
    except CannotInstall as reason:
        print(f"start.py: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("start.py: interrupted; run it again to go on with the install.", file=sys.stderr)
        return 130
    if arguments[0] == "test":
        meant = {"--fast": ["-m", "not slow"], "--soak": SOAK}
        chosen = [word for one in arguments[1:] for word in meant.get(one, [one])]
        return hand_over(["-m", "pytest", *SIDE_BY_SIDE, *chosen], ROOT)
    return hand_over(["-m", "vdit.host", *arguments], None)


def hand_over(arguments, folder):
    """Becomes the venv's Python; -P keeps this folder's packages from being importable under bare names."""
    command = [str(PYTHON), "-P", *arguments]
    if os.name == "nt":  # exec there detaches from the console
        try:
            return subprocess.call(command, cwd=folder)
        except KeyboardInterrupt:
            return 130
    if folder is not None:
        os.chdir(folder)
    os.execv(command[0], command)


def install(extra):
    """Installs what a command needs and the stamp does not name yet. Without such a need, touches nothing."""
    done = installed_extras()
    wanted = {"standalone", extra} - {None}
    if wanted <= done:
        return
    STAMP.unlink(missing_ok=True)
    print(f"Installing what VDiT needs into {VENV} (once; it takes some minutes) ...", file=sys.stderr, flush=True)
    make_venv()
    pip_install(wanted | done)
    if not complete():  # an earlier install was cut off in the middle of a package
        print("A package is damaged; installing everything anew ...", file=sys.stderr, flush=True)
        shutil.rmtree(VENV)
        make_venv()
        pip_install(wanted | done)
        if not complete():
            raise CannotInstall(
                f"the packages were installed but do not work:\n{probe().stderr.strip()}\n"
                "Please report this, with the lines above."
            )
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps({"mark": fingerprint(), "extras": sorted(wanted | done)}), "utf-8")
    os.replace(part, STAMP)


def installed_extras():
    """The extras of the last install that finished, if it was for these requirements, this place and this Python."""
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
        return set(stamp["extras"]) if stamp["mark"] == fingerprint() and PYTHON.exists() else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def pip_install(extras):
    """The pack, editable, with these extras. Raises CannotInstall with pip's likely reasons."""
    quiet = [] if sys.stderr.isatty() else ["-q"]
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *quiet]
    status = subprocess.call([*command, "-e", f"{ROOT}[{','.join(sorted(extras))}]"], stdout=sys.stderr)
    if status != 0:
        raise CannotInstall(
            f"pip could not install the requirements (its message is above; exit status {status}).\n"
            "  - No network, or behind a proxy? Connect, or set HTTPS_PROXY, and run this again: it goes on "
            "where it stopped.\n"
            "  - 'No matching distribution' for torch? It may not support Python "
            f"{sys.version_info[0]}.{sys.version_info[1]} yet: use Python 3.11 to 3.13.\n"
            f"  - 'No space left on device'? {shutil.disk_usage(ROOT).free / 1e9:.1f} GB are free here; "
            "10 GB are enough."
        )


def probe():
    """The finished run of PROBE: status 0 where all packages are whole."""
    return subprocess.run([str(PYTHON), "-P", "-c", PROBE], capture_output=True, text=True)


def complete():
    """Whether all packages are whole."""
    return probe().returncode == 0


def make_venv():
    """A venv whose Python runs and has pip; a half-made or broken one is made anew."""
    if PYTHON.exists() and works("-m", "pip", "--version"):
        return
    if VENV.exists():
        print(f"{VENV} is incomplete; making it anew ...", file=sys.stderr)
        shutil.rmtree(VENV)
    run = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if run.returncode != 0 or not works("-m", "pip", "--version"):
        shutil.rmtree(VENV, ignore_errors=True)
        raise CannotInstall(
            f"{sys.executable} cannot make a virtual environment.\n{(run.stdout + run.stderr).strip()}\n"
            "On Debian and Ubuntu: apt install python3-venv. Elsewhere: use the Python of python.org."
        )


def works(*arguments):
    """Whether the venv's Python runs with these arguments."""
    try:
        return subprocess.run([str(PYTHON), *arguments], capture_output=True).returncode == 0
    except OSError:
        return False


def fingerprint():
    """Changes with the requirements, the place (an editable install holds its path) and the Python."""
    parts = [(ROOT / "pyproject.toml").read_text("utf-8"), str(ROOT), sys.version]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
