"""What can be known to be wrong is refused before any node runs, by every host."""

import errno
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import refusals
import wan_files as make
from vdit.host import folders, run
from vdit.host.catalog import load_nodes
from vdit.host.command import Refused
from vdit.host.executor import Executor
from vdit.host.validation import InvalidPrompt, validate
from vdit.machine import limits
from vdit.model.files import bundle
from vdit.model.files.data import Data
from vdit.model.files.facts import facts_of
from vdit.model.variants import VARIANTS
from vdit.nodes import preflight
from vdit.nodes import told as nodes_told
from vdit.pipeline import ClipSpec, check_clip, check_room, frames_bytes, lattice_of

CASES = refusals.cases()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base")
    refusals.files(path)
    patch = pytest.MonkeyPatch()
    patch.setattr(folders, "current", folders.Folders(path))
    patch.setattr(limits, "free_memory", lambda: 16_000_000_000)
    yield path
    patch.undo()


@pytest.fixture(scope="module")
def nodes(base):
    return load_nodes()


def errors_of(prompt, nodes) -> dict[str, str]:
    try:
        found = validate(prompt, nodes).node_errors
    except InvalidPrompt as refused:
        found = refused.node_errors
    return {node: " ".join(f"{e['message']} {e['details']}" for e in entry["errors"]) for node, entry in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_prompt_is_refused_at_its_node(name, base, nodes):
    case = CASES[name]
    assert case.words in errors_of(case.prompt, nodes).get(case.node, "")


@pytest.mark.parametrize("name", refusals.PAIRINGS)
def test_a_wrong_pairing_is_refused_from_headers_with_what_would_do(name, base, nodes, monkeypatch):
    monkeypatch.setattr(Data, "kept", lambda *given, **more: pytest.fail("weights were read"))
    told = errors_of(CASES[name].prompt, nodes)[CASES[name].node]
    assert re.search(r"\bload |VDiT [A-Z]|ComfyUI|as JSON|set |clear |needs the|is expected", told), told


def test_a_good_prompt_is_not_refused(base, nodes):
    assert validate(refusals.GOOD, nodes).outputs == ["save"]


def test_vdit_run_refuses_before_anything_runs(base, tmp_path, monkeypatch):
    monkeypatch.setattr(Executor, "run", lambda *given, **more: pytest.fail("a node ran"))
    for case in list(CASES.values())[::8]:
        (tmp_path / "wrong.json").write_text(json.dumps(case.prompt))
        with pytest.raises(Refused):
            run.main([str(tmp_path / "wrong.json")])


def test_a_folder_that_may_not_be_written_to_is_refused(base, nodes, monkeypatch):
    def denied(self, *given):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", denied)
    assert "may not be written to" in errors_of(refusals.GOOD, nodes)["save"]


def test_a_full_disk_is_refused(base, nodes, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    assert "its disk is full" in errors_of(refusals.GOOD, nodes)["save"]


def test_the_check_of_a_folder_leaves_nothing_behind(base, nodes):
    prompt = refusals.edited(save=refusals.saved(filename_prefix="new/folder/x"))
    assert not errors_of(prompt, nodes)
    assert sorted(path.name for path in (base / "output").iterdir()) == ["file"]


@pytest.mark.parametrize(("kind", "module"), [("VDiTSceneFromPicture", "cv2"), ("VDiTSimulateScene", "mujoco")])
def test_a_missing_package_is_refused_with_what_to_install(kind, module, base, nodes, monkeypatch):
    name = {"VDiTSceneFromPicture": "objects without JSON", "VDiTSimulateScene": "start frames beyond the scene"}[kind]
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    assert "pip install" in errors_of(CASES[name].prompt, nodes)["scene"]


def test_what_fits_in_place_of_a_clip_that_is_too_large_does_fit():
    facts = facts_of(bundle.BUNDLED)
    clip = ClipSpec(161, 512, 256, 8.0)
    with pytest.raises(limits.TooLarge, match="what fits") as refused:
        check_room(facts, clip, frames_bytes, frames_bytes(clip) / 3, "its frames")
    width, height = map(int, re.search(r"fits: (\d+)x(\d+)", str(refused.value)).groups())
    frames = int(re.search(r"or (\d+) frames", str(refused.value))[1])
    for fits, more in (
        (ClipSpec(161, width, height), ClipSpec(161, width + 32, height + 32)),
        (ClipSpec(frames, 512, 256), ClipSpec(frames + 4, 512, 256)),
    ):
        check_clip(facts, fits)
        assert frames_bytes(fits) <= frames_bytes(clip) / 3 < frames_bytes(more)


def test_facts_of_headers_are_those_of_the_loaded_model():
    shipped = Path(bundle.__file__).resolve().parents[2] / "weights" / "vdit-small.safetensors"
    student = shipped.with_stem("vdit-small-student-lite")
    loaded = bundle.load_world_model(student)
    for path, model in ((student, loaded), (shipped, loaded.teacher)):
        facts = facts_of(path)
        assert (facts.config, facts.defaults) == (model.config, model.defaults)
        assert lattice_of(facts) == lattice_of(model)


def test_values_of_primitive_nodes_are_checked_too(base, nodes):
    prompt = refusals.edited(wide=refusals.node("PrimitiveInt", value=100), sample={"width": ["wide", 0]})
    assert "96 and 128" in errors_of(prompt, nodes)["sample"]


def test_each_fault_is_told_to_comfyui_by_a_node_that_every_output_of_it_needs():
    """ComfyUI asks the pack's nodes only; the fault of another is told by the nearest one before it, by its name."""
    told = nodes_told(CASES["prefix leads out"].prompt)
    assert list(told) == ["shot"] or list(told) == ["sample"]
    assert told.popitem()[1][0].startswith("SaveVideo: ")
    assert list(nodes_told(CASES["width off the lattice"].prompt)) == ["sample"]
    prompt = refusals.edited(
        shot={"strength": ["x", 0]}, sample={"steps": ["x", 0]}, model={"file": "gone.safetensors"}
    )
    assert nodes_told(prompt) == {}


def test_a_prompt_that_is_no_graph_is_no_fault_of_the_checks():
    loop = {"model": refusals.node("VDiTLoadLoRA", model=["model", 0], file="x"), "shot": None, "sample": {"inputs": 3}}
    loop["frames"] = refusals.node("VDiTDecode", model=["model", 0], latent=["frames", 0])
    assert isinstance(preflight.faults_of(loop), list)


def test_a_lora_is_judged_by_the_header_of_its_model(base):
    state = make.random_state(make.tiny(VARIANTS["t2v-a14b"]).config)
    model = make.single(base / "models" / "diffusion_models" / "small.safetensors", state)
    make.lora(base / "models" / "loras" / "fits.safetensors", state)
    facts = facts_of(model, model)
    for experts in ("high", "low"), ("low",):
        facts.check_lora(base / "models" / "loras" / "fits.safetensors", experts)
    with pytest.raises(ValueError, match="Flux"):
        facts.check_lora(base / "models" / "loras" / "Flux LoRA.safetensors", ("low",))
