"""Processes that train together: the same weights as one process with the whole batch."""

import pytest
import torch
from vdit.training.launch import Team, launch

MEMBERS = '''
import torch
from vdit.training.muon import Muon

def member(out, refuse=False, *, team):
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
                "mean": team.mean(float(team.rank)), "share": team.share(5)}, f"{out}-{team.rank}.pt")
'''


@pytest.fixture
def member(tmp_path, monkeypatch):
    (tmp_path / "two_members.py").write_text(MEMBERS)
    monkeypatch.syspath_prepend(tmp_path)
    from two_members import member

    return member


def test_members_share_gradients_updates_and_decisions(member, tmp_path):
    launch(2, member, str(tmp_path / "together"))
    one, two = (torch.load(tmp_path / f"together-{rank}.pt", weights_only=True) for rank in range(2))
    assert one["agreed"] == two["agreed"] == 5.0 and one["mean"] == two["mean"] == 0.5
    assert (one["share"], two["share"]) == (3, 2)
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(8, 4)) for _ in range(3)]
    for found in (one, two):
        for g, p, factor in zip(found["grads"], params, (3.0, 3.0, 2.0)):
            torch.testing.assert_close(g, factor * p.data)  # the mean of 2p and 4p; of none and 4p
        assert found["grads"][3] is None
    assert all(torch.equal(a, b) for a, b in zip(one["params"], two["params"]))

    from vdit.training.muon import Muon

    for p, g in zip(params, one["grads"]):
        p.grad = g
    Muon(params, lr=0.1).step()
    for p, q in zip(params, one["params"]):
        torch.testing.assert_close(p.data, q, rtol=1e-2, atol=2e-3)


def test_what_a_member_refuses_is_refused_here(member, tmp_path):
    with pytest.raises(ValueError, match="these clips do not fit"):
        launch(2, member, str(tmp_path / "x"), refuse=True)
    with pytest.raises(ValueError, match="processes is 0; expected at least 1"):
        launch(0, member, str(tmp_path / "x"))


def test_alone_a_team_changes_nothing():
    team, p = Team(), torch.nn.Parameter(torch.ones(3))
    team.mean_gradients([p])
    assert p.grad is None and team.mean(2.5) == 2.5 and team.agreed(7.0) == 7.0 and team.share(9) == 9
