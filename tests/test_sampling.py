"""Sampling: the solvers' orders, guidance, known frames, seeds, cancelling, the lattice."""

import math

import pytest
import torch
from vdit.machine.pace import PreviewBudget
from vdit.pipeline import Lattice, LatticeError
from vdit.sampling import SOLVERS, HeldFrames, SampleOptions, Step, guidance, guided, noise_from_seed, sample, schedule
from vdit.sampling.frame_levels import frame_levels, with_frame_levels

SHAPE = (1, 2, 3, 2, 2)
ODE = [name for name in SOLVERS if name != "lcm"]  # which noises anew: tests/test_wan_sampling.py


def gaussian(mean=0.7, spread=0.3):
    """Exact velocity when the data is N(mean, spread^2), and the exact map noise -> x0 of its ODE."""

    def velocity(x, sigma):
        s = sigma[:, None, :, None, None]
        centred, variance = x - (1 - s) * mean, (1 - s) ** 2 * spread**2 + s**2
        return (s - (1 - s) * spread**2) / variance * centred - mean

    return velocity, lambda noise: mean + spread * noise


def two_modes(centres=(-1.0, 1.5), spread=0.25):
    """Exact velocity when the data is an even mixture of two Gaussians: curved, no closed-form map."""

    def velocity(x, sigma):
        s = sigma[:, None, :, None, None]
        variance = (1 - s) ** 2 * spread**2 + s**2
        logits = torch.stack([-((x - (1 - s) * c) ** 2) / (2 * variance) for c in centres])
        weights = logits.softmax(0)
        x0 = sum(
            w * (c + (1 - s) * spread**2 / variance * (x - (1 - s) * c)) for w, c in zip(weights, centres, strict=True)
        )
        return (x - x0) / s

    return velocity


def runge_kutta(velocity, x, start, end, steps):
    """Classical fourth order: the reference that shares no line with the solvers under test."""
    frames = torch.ones(x.shape[0], x.shape[2], dtype=x.dtype)
    h = (end - start) / steps
    for i in range(steps):
        s = start + i * h
        a = velocity(x, s * frames)
        b = velocity(x + h / 2 * a, (s + h / 2) * frames)
        c = velocity(x + h / 2 * b, (s + h / 2) * frames)
        d = velocity(x + h * c, (s + h) * frames)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
    return x


def order(errors):
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize("solver, expected", [("euler", 1), ("heun", 2), ("unipc", 2)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_solver_reaches_its_order_on_a_full_schedule(solver, expected, shift):
    velocity, exact = gaussian()
    noise = noise_from_seed(1, SHAPE).double()
    errors = [
        (sample(velocity, noise, schedule(n, shift), solver) - exact(noise)).abs().mean().item() for n in (400, 800)
    ]
    assert abs(order(errors) - expected) < 0.15, errors


@pytest.mark.slow
@pytest.mark.parametrize("solver, expected", [("euler", 1), ("heun", 2), ("unipc", 2)])
@pytest.mark.parametrize(
    "rise", [1 / 3, 1.0]
)  # frames begin with a step: amid one, its part would go up and down with n
def test_solver_reaches_its_order_when_frames_have_levels_of_their_own(solver, expected, rise):
    velocity, exact = gaussian()
    noise, held = noise_from_seed(1, SHAPE).double(), torch.arange(SHAPE[2])[None] == 0
    level = lambda s: frame_levels(noise.new_full((1, 1), s), held, rise)  # noqa: E731
    errors = []
    for n in (400, 800):
        model = with_frame_levels(lambda x, sigma, _: velocity(x, sigma), held, level)
        options = SampleOptions(frame_levels=level)
        made = sample(lambda x, sigma, model=model: model(x, sigma, None), noise, schedule(n), solver, options=options)
        errors.append((made - exact(noise)).abs().mean().item())
    assert abs(order(errors) - expected) < 0.2, errors


def test_noise_levels_rise_along_a_clip_and_every_frame_goes_from_1_to_0():
    held = torch.tensor([[True, False, False, False, False]])
    at = lambda s, rise: frame_levels(torch.full((1, 1), s), held, rise)[0, 1:].tolist()  # noqa: E731
    assert at(1.0, 0.5) == [1.0] * 4 and at(0.0, 0.5) == [0.0] * 4
    assert at(0.5, 0.0) == [0.5] * 4
    assert at(0.625, 1.0) == [0.0, 0.5, 1.0, 1.0]  # one frame at a time
    assert at(0.6, 0.5) == [0.0, 0.5, 1.0, 1.0]  # exactly 0 when it is done, whatever the rounding
    assert frame_levels(torch.full((1, 1), 0.6), held, 0.5)[0, 0] == pytest.approx(0.6)
    for known in ([False] * 4, [True, False, False, True]):  # nothing to go on from; a place to arrive at
        assert frame_levels(torch.full((1, 1), 0.5), torch.tensor([known]), 1.0).tolist() == [[0.5] * 4]


def interior(steps):
    """A schedule that stays away from 0 and 1, the exact trajectory's start and its end."""
    noise = noise_from_seed(1, SHAPE).double()
    start, end = ((1 - s) * 0.7 + math.sqrt((1 - s) ** 2 * 0.3**2 + s * s) * noise for s in (0.95, 0.05))
    return [0.95 - 0.9 * i / steps for i in range(steps + 1)], start, end


def test_unipc_is_third_order_between_finite_log_snr_as_its_paper_says():
    errors = []
    for steps in (100, 200):
        sigmas, start, end = interior(steps)
        errors.append((sample(gaussian()[0], start, sigmas, "unipc") - end).abs().mean().item())
    assert abs(order(errors) - 3) < 0.15, errors


def test_unipc_agrees_with_diffusers_step_for_step():
    diffusers = pytest.importorskip("diffusers")
    velocity, (sigmas, x, _) = gaussian()[0], interior(20)
    ours = sample(velocity, x, sigmas, "unipc")
    theirs = diffusers.UniPCMultistepScheduler(
        solver_order=2,
        solver_type="bh2",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        lower_order_final=False,
    )
    theirs.set_timesteps(20)
    theirs.sigmas, theirs.timesteps = torch.tensor(sigmas, dtype=torch.float64), torch.arange(20, 0, -1)
    for s, t in zip(sigmas[:-1], theirs.timesteps, strict=True):
        x = theirs.step(velocity(x, torch.full((1, SHAPE[2]), s, dtype=x.dtype)), t, x).prev_sample
    assert (ours - x).abs().max() < 1e-12


@pytest.mark.slow
def test_unipc_agrees_with_runge_kutta_on_a_curved_ode():
    velocity, noise = two_modes(), noise_from_seed(2, SHAPE).double()
    sigmas = [s for s in schedule(400, 3.0) if s > 0.02]
    reference = runge_kutta(velocity, noise, sigmas[0], sigmas[-1], 2000)
    error = {name: (sample(velocity, noise, sigmas, name) - reference).abs().max().item() for name in ODE}
    assert error["unipc"] < 3e-4
    assert error["unipc"] < error["euler"] / 20


def test_twenty_unipc_steps_beat_twenty_euler_steps():
    velocity, exact = gaussian()
    noise = noise_from_seed(3, SHAPE).double()
    error = {n: (sample(velocity, noise, schedule(20, 3.0), n) - exact(noise)).abs().mean() for n in ODE}
    assert error["unipc"] < 0.6 * error["euler"]


def test_schedule_is_uniform_before_the_shift():
    assert schedule(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    ten = schedule(10, 5.0)
    assert len(ten) == 11 and ten[0] == 1.0 and ten[-1] == 0.0
    assert ten[-2] == pytest.approx(0.357, abs=1e-3)
    assert schedule(4, 5.0)[:4] == pytest.approx([1.0, 0.9375, 0.8333, 0.625], abs=1e-4)
    for bad in ((0, 3.0), (1001, 3.0), (20, 0.0), (20, math.nan)):
        with pytest.raises(ValueError, match="expected"):
            schedule(*bad)


# Known frames


def known(strength=1.0, frames=(0,)):
    latent = torch.linspace(-1, 1, math.prod(SHAPE)).reshape(SHAPE)
    return HeldFrames(latent, torch.tensor([t in frames for t in range(SHAPE[2])]), strength)


@pytest.mark.parametrize("solver", ODE)
@pytest.mark.parametrize("frames", [(0,), (2,), (0, 2)])
def test_known_frames_stay_untouched(solver, frames):
    velocity, _ = gaussian()
    given, free = known(frames=frames), [t for t in range(SHAPE[2]) if t not in frames]
    seen = []

    def watching(x, sigma):
        seen.append((x[:, :, list(frames)].clone(), sigma[:, list(frames)].clone()))
        return velocity(x, sigma)

    steps = []
    noise = noise_from_seed(4, SHAPE)
    out = sample(watching, noise, schedule(6, 3.0), solver, given, steps.append)
    assert torch.equal(out[:, :, list(frames)], given.latent[:, :, list(frames)])
    assert all(torch.equal(x, given.latent[:, :, list(frames)]) and not s.any() for x, s in seen)
    for step in steps:
        assert torch.allclose(step.x0[:, :, list(frames)], given.latent[:, :, list(frames)], atol=1e-5)
    alone = sample(velocity, noise, schedule(6, 3.0), solver)
    assert torch.equal(out[:, :, free], alone[:, :, free])  # this velocity does not look across frames


@pytest.mark.parametrize("solver", ODE)
def test_strength_below_one_releases_known_frames_noised_to_the_current_sigma(solver):
    velocity, _ = gaussian()
    noise, given = noise_from_seed(4, SHAPE), known(strength=0.4)
    seen = {}

    def watching(x, sigma):
        seen.setdefault(float(sigma[0, 1]), (x[:, :, 0].clone(), float(sigma[0, 0])))
        return velocity(x, sigma)

    out = sample(watching, noise, schedule(20), solver, given)
    for s, (x, own_sigma) in seen.items():
        if s > 0.6:
            assert own_sigma == 0.0 and torch.equal(x, given.latent[:, :, 0])
        else:
            assert own_sigma == s
    first = max(s for s in seen if s <= 0.6)
    expected = (1 - first) * given.latent[:, :, 0] + first * noise[:, :, 0]
    assert torch.allclose(seen[first][0], expected, atol=1e-5)
    assert not torch.allclose(out[:, :, 0], given.latent[:, :, 0], atol=1e-2)


def test_strength_zero_is_no_influence():
    velocity, noise = gaussian()[0], noise_from_seed(4, SHAPE)
    assert torch.equal(
        sample(velocity, noise, schedule(5), "unipc", known(strength=0.0)), sample(velocity, noise, schedule(5))
    )


# Guidance


def test_guidance_is_one_batched_forward():
    calls = []

    def model(x, sigma, context):
        calls.append(x.shape[0])
        return x * 0 + context.mean(dim=(1, 2))[:, None, None, None, None]

    x, sigma = torch.zeros(2, 1, 2, 2, 2), torch.ones(2, 2)
    v = guided(model, torch.full((1, 3, 4), 2.0), torch.full((1, 3, 4), 1.0), 5.0)(x, sigma)
    assert calls == [4] and torch.equal(v, torch.full_like(x, 6.0))
    v = guided(model, torch.full((1, 3, 4), 2.0), torch.full((1, 3, 4), 1.0), 1.0)(x, sigma)
    assert calls == [4, 2] and torch.equal(v, torch.full_like(x, 2.0))


@pytest.mark.parametrize("together", [0, 10**6])
def test_each_prompt_has_a_text_cache_of_its_own(monkeypatch, together):
    def model(x, sigma, context, text_cache):
        said = text_cache.setdefault("said", context)
        assert torch.equal(said, context)
        return x * 0 + said.mean(dim=(1, 2))[:, None, None, None, None]

    monkeypatch.setattr(guidance, "MAX_CELLS_IN_ONE_BATCH", together)
    scales = iter((5.0, 1.0, 5.0, 1.0))
    positive, negative = torch.full((1, 3, 4), 2.0), torch.full((1, 3, 4), 1.0)
    denoise = guided(model, positive, negative, lambda _: next(scales), cache_text=True)
    x = torch.zeros(2, 1, 2, 2, 2)
    assert [float(denoise(x, torch.ones(2, 2)).mean()) for _ in range(4)] == [6, 2, 6, 2]


# Seeds, watching, stopping


def test_a_seed_is_a_video_bit_for_bit():
    velocity, _ = gaussian()
    one, two = (sample(velocity, noise_from_seed(7, SHAPE), schedule(8, 3.0)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(noise_from_seed(7, SHAPE), noise_from_seed(8, SHAPE))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    noise_from_seed(2**64 - 1, SHAPE)
    assert torch.equal(before, torch.get_rng_state()), "the global generator was touched"


def test_an_end_picture_does_not_change_the_noise_of_the_video():
    assert torch.equal(noise_from_seed(7, SHAPE, extra_frames=1)[:, :, :3], noise_from_seed(7, SHAPE))


def test_steps_are_reported_with_the_clean_sample_predicted_there():
    velocity, exact = gaussian(spread=0.0)  # all data at one point: every prediction is it
    steps: list[Step] = []
    sample(velocity, noise_from_seed(1, SHAPE), schedule(5, 3.0), on_step=steps.append)
    assert [s.done for s in steps] == [1, 2, 3, 4, 5] and {s.total for s in steps} == {5}
    assert [s.sigma for s in steps] == schedule(5, 3.0)[:-1]
    assert all(torch.allclose(s.x0, torch.full(SHAPE, 0.7), atol=1e-5) for s in steps)


@pytest.mark.parametrize("solver", ODE)
@pytest.mark.parametrize("stop_at", [1, 4])
def test_cancel_stops_before_the_next_evaluation(solver, stop_at):
    class CancelledError(Exception):
        pass

    evaluations = []

    def velocity(x, sigma):
        evaluations.append(sigma)
        return x

    def check():
        if len(evaluations) >= stop_at:
            raise CancelledError

    with pytest.raises(CancelledError):
        sample(velocity, noise_from_seed(1, SHAPE), schedule(50), solver, check=check)
    assert len(evaluations) == stop_at


def test_nan_from_the_model_is_named_with_its_sigma():
    with pytest.raises(FloatingPointError, match="sigma 1.000"):
        sample(lambda x, s: x * math.nan, noise_from_seed(1, SHAPE), schedule(5))


def test_unknown_solver_lists_the_known_ones():
    with pytest.raises(ValueError, match="unipc, euler, heun"):
        sample(gaussian()[0], noise_from_seed(1, SHAPE), schedule(5), "dpm")


# Lattice


def test_lattice_accepts_lengths_and_sizes_that_fit():
    assert Lattice().frames(5, 8) == 41
    assert Lattice().frames(5, 24) == 121
    assert Lattice().frames(4.95, 8) == 41  # 39.6 is 40 whole frames, and the one at time 0
    Lattice().check_size(128, 2048)


@pytest.mark.parametrize(
    "seconds, fps, said",
    [
        (4.9, 8, r"40 frames .*nearest that fit are 37 frames \(4.5 s at 8 fps\) and 41 frames \(5 s at 8 fps\)"),
        (0, 8, r"1 frames .*shortest are 5 frames .* and 9 frames"),
        (1250, 8, r"10001 frames .*longest are 997 frames .* and 1001 frames"),
        (5, 0, "fps 0"),
        (math.inf, 8, "seconds is inf"),
    ],
)
def test_lattice_names_the_two_nearest_lengths(seconds, fps, said):
    with pytest.raises(LatticeError, match=said):
        Lattice().frames(seconds, fps)


@pytest.mark.parametrize(
    "width, height, said",
    [
        (100, 128, "width is 100, the nearest that fit are 96 and 128"),
        (128, 3, "height is 3, the nearest that fit are 32 and 64"),
        (5000, 128, "width is 5000, the nearest that fit are 2016 and 2048"),
        (33, 65, "width is 33, .*; height is 65, the nearest that fit are 64 and 96"),
    ],
)
def test_lattice_names_the_two_nearest_sizes(width, height, said):
    with pytest.raises(LatticeError, match=said):
        Lattice().check_size(width, height)


def test_previews_cost_at_most_their_share():
    now = [0.0]
    budget, shown = PreviewBudget(0.05, clock=lambda: now[0]), 0
    for _ in range(100):
        now[0] += 0.1
        if budget.affordable():
            with budget.spending():
                now[0] += 0.02
            shown += 1
    assert budget.spent <= 0.05 * (now[0] - budget.spent) and shown == 25
