"""Several processes write into one folder: each file is whole, none replaces another, and none stays half made."""

import os
import subprocess
import sys
import time

import pytest
from vdit.machine import slots, writing

SAVE = """
import sys
from pathlib import Path
from vdit.machine.slots import reserved
folder, who = Path(sys.argv[1]), sys.argv[2]
for clip in range(5):
    with reserved(folder, "clip", 4) as slot:
        for i in range(4):
            print(slot.save(".txt", lambda part: part.write_text(f"{who} {clip} {i} " * 500), i).name)
"""


@pytest.fixture(autouse=True)
def new_start():
    writing.sweep.cache_clear()


def test_four_processes_save_series_with_consecutive_numbers_and_lose_nothing(tmp_path):
    runs = [
        subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path), str(who)], stdout=subprocess.PIPE, text=True)
        for who in range(4)
    ]
    names = [run.communicate()[0].split() for run in runs]
    assert sorted(os.listdir(tmp_path)) == sorted(name for own in names for name in own)
    assert len({name for own in names for name in own}) == 4 * 5 * 4
    for who, own in enumerate(names):
        for i, name in enumerate(own):
            assert (tmp_path / name).read_text() == f"{who} {i // 4} {i % 4} " * 500
        firsts = [int(name.split("_")[1]) for name in own[::4]]
        numbers = [int(name.split("_")[1]) for name in own]
        assert numbers == [first + i for first in firsts for i in range(4)]


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    half = (
        "import os, signal, sys; from pathlib import Path; from vdit.machine import slots, writing\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with slots.reserved(folder, 'clip'), writing.written(folder / 'a.txt') as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", half], check=False)
    left = os.listdir(tmp_path)
    assert sorted(name.rpartition(".")[2] for name in left) == ["part", "slot"] and "a.txt" not in left
    with writing.written(tmp_path / "b.txt") as part:
        part.write_text("whole")
    assert os.listdir(tmp_path) == ["b.txt"]


def test_unfinished_files_of_others_stay_until_nobody_has_touched_them_for_a_day(tmp_path):
    own = tmp_path / writing.own_name("a.txt")
    strange = tmp_path / ".b.txt.00000000-1-1-0.part"
    ancient = tmp_path / ".c.txt.00000000-1-1-0.part"
    no_part_of_ours = tmp_path / ".download.part"
    for path in (own, strange, ancient, no_part_of_ours):
        path.write_text("half")
    old = time.time() - 2 * writing.STALE_S
    os.utime(ancient, (old, old))
    os.utime(no_part_of_ours, (old, old))
    writing.sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == {own.name, strange.name, no_part_of_ours.name}


def no_hard_links(source, target):
    raise PermissionError(1, "Operation not permitted")


def lost_answer(source, target, link=os.link):
    link(source, target)
    raise FileExistsError(17, "File exists")


@pytest.mark.skipif(os.name == "nt", reason="a rename never replaces there")
@pytest.mark.parametrize("link", [no_hard_links, lost_answer])
def test_a_name_is_claimed_once_where_hard_links_are_missing_or_their_answer_is_lost(tmp_path, monkeypatch, link):
    monkeypatch.setattr(os, "link", link)
    with writing.created(tmp_path / "a.txt") as part:
        part.write_text("first")
    with pytest.raises(FileExistsError), writing.created(tmp_path / "a.txt") as part:
        part.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_that_a_stranger_made_meanwhile_is_not_replaced(tmp_path):
    with slots.reserved(tmp_path, "clip") as slot:
        (tmp_path / "clip_00001_.mp4").write_text("a stranger's")
        path = slot.save(".mp4", lambda part: part.write_text("ours"))
    assert path.name == "clip_00002_.mp4" and path.read_text() == "ours"
    assert (tmp_path / "clip_00001_.mp4").read_text() == "a stranger's"


def test_names_as_long_as_file_systems_take_can_be_written(tmp_path):
    name = "ä" * 118 + ".txt"
    with writing.written(tmp_path / name) as part:
        part.write_text("whole")
    assert os.listdir(tmp_path) == [name]


def test_a_full_disk_is_said_in_our_words_where_a_library_has_its_own(tmp_path):
    with pytest.raises(writing.CannotSave, match="the disk is full"), writing.written(tmp_path / "a.bin"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")  # as safetensors says it
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_library_stays_where_the_disk_is_well(tmp_path):
    with pytest.raises(RuntimeError, match="of its own"), writing.written(tmp_path / "a.bin"):
        raise RuntimeError("of its own")
