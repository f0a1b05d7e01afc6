"""The picture gate: a picture of another world gets no prediction, and says what to do; its own always do."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import random_world_model, small_config
from PIL import Image
from vdit.drafting import Draft, PerceptionCache
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle as bundle_file
from vdit.model.files.beside import BODIES_GATE, GATE
from vdit.model.files.bundle import load_world_model, save_world_model
from vdit.model.files.inspect import inspect
from vdit.model.object_dynamics import ObjectDynamics
from vdit.model.picture_gate import GateConfig, PictureGate
from vdit.pipeline.drafts import first_picture_of
from vdit.training.bundle import bundle
from vdit.training.data import world_pictures
from vdit.training.data.other_pictures import PROCEDURAL
from vdit.training.data.world_pictures import PictureFormat, rendered, write_pictures
from vdit.training.finished_runs import trained_gate
from vdit.training.recipes import BundleRecipe, GateRecipe, PicturesRecipe
from vdit.training.tasks import gate as gate_task
from vdit.world.families.objects import OBJECT_FAMILIES, play, stage
from vdit.world.families.scene import FAMILIES, SPLITS, sample_scene

from runs import encoded, predicted, run

SHIPPED = Path(bundle_file.__file__).resolve().parents[2] / "weights" / "vdit-small.safetensors"
SIZE = dict(frames=13, width=64, height=64)


class Verdict(PictureGate):
    """Accepts pictures that are brighter than half."""

    def forward(self, pictures):
        return pictures.flatten(1).mean(1) - 0.5


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = random_world_model(3, small_config(draft=True))
    made.dynamics, made.gate = ObjectDynamics().eval().requires_grad_(False), Verdict()
    return made


@pytest.fixture(scope="module")
def shipped():
    return GATE.load(GATE.path(SHIPPED))


def bright(count=1):
    return torch.full((count, 64, 64, 3), 0.7)


@pytest.mark.parametrize("split", SPLITS)
def test_the_shipped_gate_accepts_every_family(shipped, split):
    for i, family in enumerate(FAMILIES):
        picture = rendered(sample_scene(910_000 + i, family, split=split), np.array([3]), 128, 128)
        assert shipped.accepts(picture), family


def test_the_shipped_gate_refuses_photographs_and_plain_pictures(shipped):
    data = pytest.importorskip("skimage.data")
    for picture in (data.coffee(), data.chelsea(), data.rocket(), data.astronaut(), data.stereo_motorcycle()[0]):
        x = torch.from_numpy(picture / 255).float()
        height, width = x.shape[:2]
        for part in (x, x.flip(1), x[: height // 2, : width // 2], x[height // 3 :, width // 3 :]):
            assert not shipped.accepts(part[None])
    for shade in (0.0, 0.5, 1.0):
        assert not shipped.accepts(torch.full((1, 96, 160, 3), shade))


def test_the_shipped_gate_is_small(shipped):
    assert sum(p.numel() for p in shipped.parameters()) < 100_000
    assert GATE.path(SHIPPED).stat().st_size < 200_000


def test_a_picture_of_another_world_gets_no_prediction_and_says_what_to_do(model):
    own, other = bright(), 1 - bright()
    assert predicted(model, encoded(model, "a red ball", start=own), **SIZE, seed=1).draft is not None
    found = predicted(model, encoded(model, "a red ball", start=other), **SIZE, seed=1)
    assert found.draft is None and "the start picture" in found.reason and "VDiT Scene From Picture" in found.reason
    assert "the end picture" in predicted(model, encoded(model, "", start=own, end=other), **SIZE, seed=1).reason
    five = torch.cat((other.expand(4, -1, -1, -1), own))  # the last one is predicted from
    assert "start picture" not in (predicted(model, encoded(model, "", start=five), **SIZE, seed=1).reason or "")
    made = run(model, encoded(model, "a red ball", start=other), **SIZE, seed=1, steps=1, guidance=1.0)
    assert "draw the objects" in made.remarks[0]
    alone = replace(model, dynamics=None)
    same = run(alone, encoded(alone, "a red ball", start=other), **SIZE, seed=1, steps=1, guidance=1.0)
    assert torch.equal(made.latent, same.latent), "as without a prediction"


def test_bodies_have_a_gate_of_their_own(model, monkeypatch):
    asked, drafts = [], []
    draft_of = "vdit.pipeline.drafts.draft_of_bodies"
    monkeypatch.setattr(draft_of, lambda *_, balls: (asked.append(balls), drafts[-1] if drafts else None)[1])
    model.bodies, model.bodies_gate = torch.nn.Identity(), Verdict()
    refused = 1 - bright(5)
    model.gate = Verdict()
    ended = encoded(model, "", start=refused, end=refused[-1:])
    found = predicted(model, encoded(model, "", start=refused), **SIZE, seed=1)
    assert "the start picture" in found.reason and not asked
    model.bodies_gate.forward = lambda pictures: torch.ones(len(pictures))
    found = predicted(model, encoded(model, "", start=refused), **SIZE, seed=1)
    assert asked == [True] and "nothing that moves is seen in the start pictures" in found.reason
    for shot, told in ((encoded(model, "", start=refused[:4]), "has 4"), (ended, "has 5, an end picture")):
        found = predicted(model, shot, **SIZE, seed=1)
        assert "from 5 start pictures" in found.reason and told in found.reason and asked == [True]
    drafts.append(Draft(refused, None))
    found = predicted(model, encoded(model, "", start=refused), **SIZE, seed=1)
    assert asked == [True] * 2 and found.draft is drafts[0], "balls of another world are moved as bodies"
    model.gate.forward = lambda pictures: torch.ones(len(pictures))
    predicted(model, encoded(model, "", start=refused), **SIZE, seed=1)
    assert asked == [True, True, False], "in their own world their dynamics know more"
    model.bodies_gate = None
    predicted(model, encoded(model, "", start=refused), **SIZE, seed=1)
    assert len(asked) == 4


def test_no_pictures_of_another_world_are_perceived(model):
    cache = PerceptionCache()
    for start in (1 - bright(), bright(), bright()):
        predicted(model, encoded(model, "", start=start), **SIZE, seed=1, cache=cache)
    assert len(cache) == 1


def test_a_first_picture_of_another_world_is_passed_over(model, monkeypatch):
    frames = [1 - bright()[None], bright()[None]]
    monkeypatch.setattr(model.codec, "decode_stream", lambda latent: iter(frames))
    monkeypatch.setattr("vdit.pipeline.drafts.shows_ball", lambda dynamics, picture: True)
    found = first_picture_of(model, torch.zeros(1, 8, 2, 4, 4))
    assert torch.equal(found, (bright() * 255).round() / 255)


def test_a_draft_of_another_world_is_kept_as_it_is(model):
    draft = 0.3 * torch.rand(13, 64, 64, 3)
    made = run(model, encoded(model, "", draft=draft), **SIZE, seed=1, steps=2, guidance=1.0)
    assert torch.equal(made.draft.coverage, torch.ones(13, 64, 64)) and "keeps it as it is" in made.remarks[0]
    torch.testing.assert_close(made.latent, made.draft.latent, atol=1e-4, rtol=0)
    weak = run(model, encoded(model, "", draft=draft, draft_strength=0.5), **SIZE, seed=1, steps=2, guidance=1.0)
    assert "blurs what it does not know" in weak.remarks[0]


def test_pictures_of_any_size_and_several_at_once_are_judged():
    gate = PictureGate().eval()
    for shape in ((1, 16, 16), (3, 64, 512), (2, 480, 832)):
        assert gate(torch.rand(*shape, 3)).shape == shape[:1]


def test_a_gate_is_read_with_the_bundle_that_it_lies_beside(tmp_path):
    teacher, path = random_world_model(0, small_config(draft=True)), tmp_path / "mine.safetensors"
    save_world_model(teacher, path)
    assert load_world_model(path).gate is None  # as files of older versions: any picture is predicted from
    torch.manual_seed(0)
    gate, picture = PictureGate(GateConfig((8, 8, 16, 16))), torch.rand(2, 40, 60, 3)
    file = GATE.save(gate, GATE.path(path), {})
    assert file.name == "mine-gate.safetensors"
    assert BODIES_GATE.save(gate, BODIES_GATE.path(path), {}).name == "mine-bodies-gate.safetensors"
    read = load_world_model(path).gate
    assert torch.equal(load_world_model(path).bodies_gate(picture), read(picture))
    torch.testing.assert_close(read(picture), gate(picture).detach(), atol=2e-3, rtol=0)
    student = random_world_model(1, small_config(draft=True, flow_map=True))
    student, small = replace(student, codec=teacher.codec, text=teacher.text), tmp_path / "small.safetensors"
    save_world_model(student, small, beside=path.name)
    loaded = load_world_model(small)
    assert loaded.gate is loaded.teacher.gate is not None
    assert loaded.bodies_gate is loaded.teacher.bodies_gate is not None
    seen = inspect(file)
    assert "picture gate" in seen.what and not seen.problems and "beside the model's file" in seen.needs[0]
    with pytest.raises(CheckpointError, match="picture gate"):
        load_world_model(file)


def test_a_broken_gate_is_named(tmp_path):
    path = tmp_path / "a-gate.safetensors"
    shutil.copy(SHIPPED, path)
    with pytest.raises(CheckpointError, match=r"a-gate\.safetensors: it is no picture gate"):
        GATE.load(path)
    gate = PictureGate(GateConfig((8, 8, 8, 8)))
    gate.verdict[2].bias.data.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="NaN"):
        GATE.load(GATE.save(gate, path, {}))


@pytest.mark.parametrize("kind", PROCEDURAL, ids=lambda kind: kind.__name__)
def test_procedural_pictures_are_pictures_and_differ(kind):
    one, other = (np.asarray(kind(np.random.default_rng(seed))) for seed in (1, 2))
    assert one.shape == (128, 128, 3) and np.isfinite(one).all() and abs(one - other).max() > 0.01


def test_pictures_of_bodies_are_those_that_the_benchmark_films():
    staged = stage(5, "shove", width=64, height=48)
    frames = np.array([0, 20])
    assert torch.equal(rendered(staged, frames, 64, 48), play(staged).rgb[frames])


def test_pictures_of_the_world_are_of_balls_and_of_other_bodies_where_asked(tmp_path, monkeypatch):
    weights, families = tmp_path / "toy.safetensors", []
    save_world_model(random_world_model(0), weights)
    for name in ("stage", "sample_scene"):
        sample = getattr(world_pictures, name)
        noted = lambda seed, family, sample=sample, **more: families.append(family) or sample(seed, family, **more)  # noqa: E731
        monkeypatch.setattr(world_pictures, name, noted)
    varied = world_pictures.varied
    noted = lambda *made, **more: families.append("varied") or varied(*made, **more)  # noqa: E731
    monkeypatch.setattr(world_pictures, "varied", noted)
    form = PictureFormat(scenes=12, frames=1, from_words=0, continued=0)
    write_pictures(PicturesRecipe(tmp_path / "balls", shards=1, model=weights), form)
    assert len(families) == 12 and set(families) <= set(FAMILIES)
    families.clear()
    write_pictures(PicturesRecipe(tmp_path, shards=1, model=weights, bodies=True), form)
    kinds = {"varied"}, set(OBJECT_FAMILIES), set(FAMILIES)
    counts = [sum(family in kind for family in families) for kind in kinds]
    assert sum(counts) == 12 and min(counts) >= 1
    assert len(world_pictures.WorldPictures.load(tmp_path)) == 12


@pytest.mark.slow
def test_a_gate_is_trained_from_pictures_to_its_file_and_on_from_that(tmp_path):
    weights = tmp_path / "toy.safetensors"
    save_world_model(random_world_model(0), weights)
    form = PictureFormat(scenes=16, frames=2, from_words=0, continued=0)
    for split, name in (("train", "own"), ("validation", "own-val")):
        write_pictures(PicturesRecipe(tmp_path / name, shards=1, split=split, model=weights), form)
    (tmp_path / "photographs").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photographs" / "one.png")
    folders = [tmp_path / name for name in ("own", "own-val", "photographs", "photographs", "gate")]
    recipe = GateRecipe(*folders, hours=6 / 3600, batch=8)
    gate_task.train(recipe, config=GateConfig((8, 8, 8, 8)), validate_every=50)
    made = bundle(BundleRecipe(gate=tmp_path / "gate", out=weights))
    assert made["gate_steps"] > 0 and load_world_model(weights).gate.config == GateConfig((8, 8, 8, 8))
    recipe = replace(recipe, out=tmp_path / "more", start_from=GATE.path(weights))
    first = GATE.load(GATE.path(weights))
    gate_task.train(recipe, validate_every=50)
    more = trained_gate(tmp_path / "more")[0]
    changes = [(more.state_dict()[name] - value).abs().max() for name, value in first.state_dict().items()]
    assert more.config == first.config and 0 < max(changes) < 0.2
