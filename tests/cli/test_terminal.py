"""What commands pass on of the library's words."""

from __future__ import annotations

import logging

import pytest
from labelled_frames import copper_frames

from gapkit.cli.terminal import log_to
from gapkit.structures.label_keys import LOG
from gapkit.structures.reading import find_label_keys


@pytest.mark.parametrize("leave_out", ["", LOG])
def test_what_is_logged_of_labels_can_be_left_out_and_nothing_else(leave_out):
    said: list[str] = []
    frames = copper_frames(3)
    with log_to(said.append, leave_out):
        find_label_keys(frames)
        logging.getLogger("gapkit").info("something else")
    assert "something else" in said
    assert any(line.startswith("energy: 'energy' of ") for line in said) == (leave_out == "")


def test_records_of_labels_are_those_of_gapkit(caplog):
    """Whoever listens to "gapkit" hears them."""
    with caplog.at_level("INFO", "gapkit"):
        find_label_keys(copper_frames(2))
    assert {record.name for record in caplog.records} == {LOG}
    assert LOG.startswith("gapkit.")
