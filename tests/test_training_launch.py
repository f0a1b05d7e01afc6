"""Processes that train together: the same weights as one process with the whole batch."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from vdit.training.launch import Team, launch

MEMBERS = """
import os, time, torch
from vdit.training.muon import Muon

def wait(out, team):
    open(f"{out}-{team.rank}", "w").write(str(os.getpid()))
    time.sleep(120)

def member(out, team, refuse=False):
    if refuse:
        raise ValueError("these clips do not fit")
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(8, 4)) for _ in range(3)] + [torch.nn.Parameter(torch.randn(2))]
    for p in params[: 2 + team.rank]:  # the third is used by member 1 alone, the last by nobody
        (p.square().sum() * (1 + team.rank)).backward()
    team.mean_gradients(params)
    grads = [None if p.grad is None else p.grad.clone() for p in params]
    Muon(params[:3], lr=0.1, team=team).step()
    torch.save({"grads": grads, "params": [p.data for p in params], "agreed": team.agreed(team.rank + 5.0),
                "mean": team.mean(float(team.rank)), "mine": list(team.mine)}, f"{out}-{team.rank}.pt")
"""


@pytest.fixture
def member(tmp_path, monkeypatch):
    (tmp_path / "two_members.py").write_text(MEMBERS)
    monkeypatch.syspath_prepend(tmp_path)
    from two_members import member

    return member


@pytest.mark.slow
def test_members_share_gradients_updates_and_decisions(member, tmp_path):
    launch(2, member, str(tmp_path / "together"))
    one, two = (torch.load(tmp_path / f"together-{rank}.pt", weights_only=True) for rank in range(2))
    assert one["agreed"] == two["agreed"] == 5.0 and one["mean"] == two["mean"] == 0.5
    assert (one["mine"], two["mine"]) == ([0], [1])
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(8, 4)) for _ in range(3)]
    for found in (one, two):
        for g, p, factor in zip(found["grads"][:3], params, (3.0, 3.0, 2.0), strict=True):
            torch.testing.assert_close(g, factor * p.data)  # the mean of 2p and 4p; of none and 4p
        assert found["grads"][3] is None
    assert all(torch.equal(a, b) for a, b in zip(one["params"], two["params"], strict=True))

    from vdit.training.muon import Muon

    for p, g in zip(params, one["grads"][:3], strict=True):
        p.grad = g
    Muon(params, lr=0.1).step()
    for p, q in zip(params, one["params"][:3], strict=True):
        torch.testing.assert_close(p.data, q, rtol=1e-2, atol=2e-3)


@pytest.mark.slow
def test_an_error_of_one_process_is_raised_by_the_launcher(member, tmp_path):
    with pytest.raises(ValueError, match="these clips do not fit"):
        launch(2, member, str(tmp_path / "x"), refuse=True)
    with pytest.raises(ValueError, match="processes is 0; expected at least 1"):
        launch(0, member, str(tmp_path / "x"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_members_end_with_the_process_that_started_them(member, tmp_path):
    start = (
        "import sys, time\nfrom vdit.training.launch import launch\nfrom two_members import wait\n"
        f"if __name__ == '__main__': launch(2, wait, {str(tmp_path / 'pid')!r})\n"
    )
    (tmp_path / "start.py").write_text(start)
    parent = subprocess.Popen([sys.executable, "start.py"], cwd=tmp_path)
    pids = [tmp_path / f"pid-{rank}" for rank in range(2)]
    assert until(lambda: all(p.exists() and p.read_text() for p in pids), 60)
    parent.kill()
    parent.wait()
    assert until(lambda: not any(alive(int(p.read_text())) for p in pids), 20)


def until(true, seconds):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.2)
    return true()


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_team_of_one_process_changes_nothing():
    team, p = Team(), torch.nn.Parameter(torch.ones(3))
    team.mean_gradients([p])
    assert p.grad is None and team.mean(2.5) == 2.5 and team.agreed(7.0) == 7.0 and [*team.mine] == [0]
