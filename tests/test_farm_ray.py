"""The same farms on Ray, local and with two workers. Skipped, loudly, where Ray is not installed."""

import os
import warnings
from collections import Counter

import pytest
from farm_jobs import Numbers
from test_farm import held, numbers, times_of
from vdit.farm.driver import Workers, carry_out
from vdit.farm.store import LocalFolder

NEEDED = "NOT TESTED: Ray is not installed. pip install -e '.[farm]'"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One local cluster of two workers for the tests of this file."""
    try:
        import ray
    except ImportError:
        warnings.warn(NEEDED, stacklevel=1)
        pytest.skip(NEEDED)
    here = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"env_vars": {"PYTHONPATH": here}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
    yield
    ray.shutdown()


def test_every_row_is_there_once_on_ray_although_workers_die_and_processes_find_it_done(tmp_path):
    (killed := tmp_path / "killed").mkdir()
    job, out = Numbers(str(killed), killers=(2, 9), wrong=(13,)), tmp_path / "out"
    outcome, _ = carry_out(job, numbers(22), LocalFolder(out), Workers(2, ray=""))
    assert (outcome.rows, outcome.made, outcome.kept) == (22, 21, 0)
    assert list(outcome.failed.values()) == ["13 is wrong"]
    assert sorted(path.name for path in killed.iterdir()) == ["2", "9"]
    assert held(out) == Counter(n for n in range(22) if n != 13) and not list(out.rglob("half*"))
    before, good = times_of(out), [n for n in numbers(24) if n["number"] != 13]
    outcome, _ = carry_out(job, good[:21], LocalFolder(out), Workers(2, ray=""))
    assert (outcome.made, outcome.kept) == (0, 21) and times_of(out) == before
    outcome, _ = carry_out(job, good, LocalFolder(out), Workers(1))
    assert (outcome.made, outcome.kept) == (2, 21) and held(out) == Counter(n for n in range(24) if n != 13)


@pytest.mark.slow
def test_a_block_that_kills_each_worker_fails_on_ray_and_the_others_are_made(tmp_path):
    outcome, _ = carry_out(Numbers(deadly=(5,)), numbers(12), LocalFolder(tmp_path), Workers(2, ray=""))
    assert outcome.made == 8 and len(outcome.failed) == 4
    assert all("died 3 times" in reason for reason in outcome.failed.values())
    assert held(tmp_path) == Counter([0, 1, 2, 3, 8, 9, 10, 11])
