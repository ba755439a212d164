"""How commands pass on the library's messages."""

from __future__ import annotations

import logging
import pickle

import pytest
from labelled_frames import copper_frames

from gapkit.active_learning.acquisition import MostWanted
from gapkit.cli.terminal import log_to, refuse
from gapkit.errors import InputError, Parameter
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


def test_parameters_become_flags_and_the_words_of_users_stay():
    """Only what is a parameter is put into the words of the shell, whatever else looks like one."""
    error = InputError("'energy_key=' of max_memory = x: ", Parameter("energy_key", "..."), " or {}%s.")
    assert str(error) == "'energy_key=' of max_memory = x: energy_key=... or {}%s."
    assert error.for_the_shell() == "'energy_key=' of max_memory = x: --energy-key=... or {}%s."
    assert Parameter("max_memory", "'4X'", " = ").flag() == "--max-memory '4X'"
    assert Parameter("resume", "True").flag() == "--resume"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert pickle.loads(pickle.dumps(error)).for_the_shell() == error.for_the_shell()


def test_refusals_and_log_records_have_flags(capsys):
    frames = copper_frames(2)
    with pytest.raises(InputError, match=r"^energy_key='E' is in none") as caught:
        find_label_keys(frames, energy_key="E")
    assert refuse(caught.value) == 2
    for atoms in frames:
        atoms.info["my_energy"], atoms.calc = 1.0, None
    with log_to(print):
        find_label_keys(frames)
    errors = capsys.readouterr().err
    assert "error: --energy-key='E' is in none of the 2 frames" in errors
    assert "warning: energy: none taken; 'my_energy' not recognised, name it (--energy-key=...)" in errors


def test_tables_name_the_way_to_add_sparse_points_of_the_reader():
    found = MostWanted((), "add_sparse_points", 1, 2, 0.1, ((7, 0.2),))
    assert "candidates 7 (200 meV/atom): add_sparse_points first." in found.table()
    shown = found.table("gapkit update --add-sparse")
    assert "candidates 7 (200 meV/atom): gapkit update --add-sparse first." in shown
    assert "error bar of 1 add_sparse_points" in shown  # a name of the user's
