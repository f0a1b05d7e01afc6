"""Every door that files of numbers come through, with generated cases, the same ones each time."""

import logging

import av
import pytest
from edits import edited
from file_doors import DOORS
from media_seeds import video_seeds
from oracle import tried
from vdit.host.video import VideoFromFile

CASES = 60


@pytest.mark.parametrize("door", DOORS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_a_door_answers_every_file(door):
    logging.disable(logging.WARNING)
    try:
        assert tried(door(), CASES).counts["cases"] > 0
    finally:
        logging.disable(logging.NOTSET)


def test_a_video_has_the_size_of_its_frames_where_its_head_is_damaged(tmp_path):
    path = tmp_path / "a.ts"
    path.write_bytes(edited(video_seeds()["mpegts h264"], (("word", 2, 606, 579674),)))
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == 14  # the damage that is meant
    video = VideoFromFile(path)
    assert video.get_dimensions() == (16, 156)
    assert video.get_components().images.shape[1:3] == (156, 16)
