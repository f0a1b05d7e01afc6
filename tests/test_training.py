"""Training, end to end at toy size: clips -> codec -> latents -> teacher -> bundle, each resumable."""

import json

import numpy as np
import pytest
import torch
from vdit.model.checkpoint import load_world_model
from vdit.model.codec.tiny import TinyCodecConfig
from vdit.model.config import VDiTConfig
from vdit.training import bundle, clips, codec, latents, teacher
from vdit.training.run import Run, cosine
from vdit.training.textures import dead_leaves

TINY_CODEC = TinyCodecConfig(channels=4, width=16, deep=16, blocks=(1, 1))
TINY = VDiTConfig(dim=128, ffn_dim=64, layers=1, in_channels=4, out_channels=4, text_dim=16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two toy shards, a trained toy codec, latents and a teacher."""
    root = tmp_path_factory.mktemp("runs")
    shard, clips.SHARD = clips.SHARD, 4
    try:
        clips.write_shards(root / "clips", 0, 2, size=128, frames=13)
    finally:
        clips.SHARD = shard
    codec.train(root / "clips", root / "clips", root / "codec", steps=6, batch=2, config=TINY_CODEC, validate_every=6)
    latents.encode_shards(latents.load_codec(root / "codec", root / "clips"), root / "clips", root / "latents")
    teacher.train(root / "latents", root / "latents", root / "teacher", hours=4 / 3600, batch=4, config=TINY)
    return root


def test_clip_shards_are_kept_when_the_command_runs_again(made):
    before = {p: p.stat().st_mtime_ns for p in (made / "clips").glob("*.npy")}
    clips.write_shards(made / "clips", 0, 2, size=128, frames=13)
    assert {p: p.stat().st_mtime_ns for p in (made / "clips").glob("*.npy")} == before and len(before) == 2


def test_codec_run_resumes_where_it_stopped(made):
    run = Run(made / "codec")
    assert run.load()["step"] == 6
    codec.train(made / "clips", made / "clips", made / "codec", steps=8, batch=2, config=TINY_CODEC)
    assert Run(made / "codec").load()["step"] == 8
    rows = [json.loads(line) for line in (made / "codec" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["event"] == "start" and any("held_out_psnr" in r for r in rows)


def test_latents_are_normalised_and_mirrored_with_their_words(made):
    data = latents.Latents.load(made / "latents")
    assert data.video.shape == (16, 4, 4, 8, 8) and data.last.shape == (16, 4, 1, 8, 8)
    assert abs(float(data.video.float().mean())) < 0.2
    assert [latents.mirrored(c) for c in data.captions[0]] == data.captions[1]
    assert latents.mirrored("rolls to the left, the camera pans right") == "rolls to the right, the camera pans left"


def test_teacher_resumes_and_loss_ignores_known_frames(made):
    step = Run(made / "teacher").load()["step"]
    assert step > 0
    teacher.train(made / "latents", made / "latents", made / "teacher", hours=6 / 3600, batch=4, config=TINY)
    assert Run(made / "teacher").load()["step"] > step


def test_flow_loss_of_an_untrained_model_is_the_energy_of_its_target(made):
    data = latents.Latents.load(made / "latents")
    model, text = teacher.fresh(TINY, 0)  # its head is zero: it predicts no velocity
    loss = teacher.validate(model, text, data, count=16, batch=8)
    assert loss == pytest.approx(1 + float(data.video.float().square().mean()), rel=0.15)


def test_the_same_step_gives_the_same_loss(made):
    data = latents.Latents.load(made / "latents")
    model, text = teacher.fresh(TINY, 0)
    torch.nn.init.normal_(model.head.head.weight)
    assert teacher.validate(model, text, data, 8) == teacher.validate(model, text, data, 8)


def test_bundle_holds_the_averaged_weights_and_the_facts(made, tmp_path):
    facts = bundle.bundle(made / "codec", made / "teacher", tmp_path / "m.safetensors")
    model = load_world_model(tmp_path / "m.safetensors")
    assert model.facts["teacher_steps"] == facts["teacher_steps"] > 0
    state = Run(made / "teacher").load()
    torch.testing.assert_close(
        model.transformer.head.head.weight, state["average"]["model.head.head.weight"], rtol=1e-3, atol=1e-4
    )
    assert "ball" in model.text.vocabulary


def test_a_missing_stage_names_the_command_that_makes_it(tmp_path):
    from vdit.training.cli import main

    with pytest.raises(FileNotFoundError, match="vdit train clips"):
        codec.train(tmp_path, tmp_path, tmp_path / "c", steps=1)
    with pytest.raises(FileNotFoundError, match="vdit train latents"):
        latents.Latents.load(tmp_path)
    assert main(["latents", "--codec", str(tmp_path / "none"), "--clips", str(tmp_path), "--out", str(tmp_path / "o")]) == 2


def test_learning_rate_warms_up_and_comes_down():
    rates = [cosine(i, 100, 1.0, warmup=10) for i in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0) and rates[-1] < 0.06


def test_dead_leaves_are_pictures_that_drift():
    clip = dead_leaves(np.random.default_rng(3), 5, 32)
    assert clip.shape == (5, 32, 32, 3) and clip.dtype == np.uint8 and clip.std() > 10
