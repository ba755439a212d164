"""Settings as plain data: there and back, defaults, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gapkit import SOAP, DotProduct, InputError, SquaredExponential, Term
from gapkit.potential.settings import read_yaml
from gapkit.terms.serialisation import term_from_dict, term_to_dict

TERMS = [
    Term(SOAP(["Si"])),
    Term(SOAP(["Cu", "Au"], 4.5, 4, 3, 0.4, 3.0, "mu2"), DotProduct(2, 1.5), {"Cu": 5, "Au": 7}, "cur"),
    Term(SOAP(["H"], species_weights={"H": 0.5}, engine="dscribe"), SquaredExponential(0.3, 2.0), 17, "random"),
]
SOAP_SI = {"type": "SOAP", "species": ["Si"]}


@pytest.mark.parametrize("term", TERMS)
def test_round_trip(term):
    data = term_to_dict(term)
    assert term_from_dict(data) == term
    assert term_from_dict(json.loads(json.dumps(data))) == term


@pytest.mark.parametrize("term", TERMS)
def test_round_trip_through_a_file(term, tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(json.dumps(term_to_dict(term)), encoding="utf-8")  # JSON is YAML
    assert term_from_dict(read_yaml(path)) == term


def test_species_as_tuple_or_array_become_a_list():
    for species in (("Cu", "Au"), np.array(["Cu", "Au"])):
        data = term_to_dict(Term(SOAP(species)))
        assert json.loads(json.dumps(data))["descriptor"]["species"] == ["Cu", "Au"]


def test_what_is_left_out_takes_the_default():
    assert term_from_dict({"descriptor": {"species": ["Si"]}}) == Term(SOAP(["Si"]), DotProduct())


def test_numbers_written_as_text_count():
    """YAML reads 1e-3 as text, because it lacks the point."""
    term = term_from_dict({"descriptor": {**SOAP_SI, "atom_sigma": "5e-1"}, "kernel": {"delta": "1e1"}})
    assert term.descriptor.atom_sigma == 0.5
    assert term.kernel.delta == 10.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"descriptr": SOAP_SI}, r"^model has no parameter 'descriptr' \(did you mean 'descriptor'\?\)"),
        (
            {"descriptor": {**SOAP_SI, "cutof": 5}},
            r"^model.descriptor has no parameter 'cutof' \(did you mean 'cutoff'",
        ),
        (
            {"descriptor": SOAP_SI, "kernel": {"zetta": 4}},
            r"^model.kernel has no parameter 'zetta' \(did you mean 'zeta'",
        ),
        (
            {"descriptor": {**SOAP_SI, "type": "SOAPS"}},
            r"^model.descriptor.type = 'SOAPS' is unknown \(did you mean 'SOAP'",
        ),
        ({"descriptor": SOAP_SI, "kernel": {"type": "Dot"}}, r"^model.kernel.type = 'Dot' is unknown"),
        ({}, r"^model has no descriptor: add for example 'descriptor: \{type: SOAP, species: \[Si\]\}'"),
        ({"descriptor": "SOAP"}, r"^model.descriptor = 'SOAP' must be a mapping"),
        ({"descriptor": SOAP_SI, "kernel": ["zeta", 4]}, r"^model.kernel = \['zeta', 4\] must be a mapping"),
        (
            {"descriptor": {**SOAP_SI, "cutoff": "wide"}},
            r"^model.descriptor.cutoff = 'wide': input should be a valid number",
        ),
        ({"descriptor": {**SOAP_SI, "n_max": 4.5}}, r"^model.descriptor.n_max = 4.5: input should be a valid integer"),
        (
            {"descriptor": {**SOAP_SI, "cutoff": None}},
            r"^model.descriptor.cutoff = None: input should be a valid number",
        ),
        ({"descriptor": {"type": "SOAP"}}, r"^model.descriptor.species"),
        (
            {"descriptor": {**SOAP_SI, "species": [14]}},
            r"^model.descriptor.species.0 = 14: input should be a valid string",
        ),
        ({"descriptor": {**SOAP_SI, "species": ["Sj"]}}, r"unknown species 'Sj'"),
        ({"descriptor": {**SOAP_SI, "cutoff": 0.5}}, r"^cutoff = 0.5 Å must be larger than 1 Å"),
        ({"descriptor": SOAP_SI, "kernel": {"zeta": 0}}, r"^zeta = 0 must be a positive integer"),
        ({"descriptor": SOAP_SI, "n_sparse": 0}, r"^n_sparse = 0 must be a positive whole number"),
        ({"descriptor": SOAP_SI, "n_sparse": "many"}, r"n_sparse"),
        ({"descriptor": SOAP_SI, "n_sparse": None}, r"n_sparse"),
        ({"descriptor": SOAP_SI, "n_sparse": {"Si": None}}, r"n_sparse"),
        ({"descriptor": SOAP_SI, "sparsification": 3}, r"sparsification"),
    ],
)
def test_one_sentence_names_the_place_the_value_and_the_cure(data, message):
    with pytest.raises(InputError, match=message) as error:
        term_from_dict(data, "model")
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")


@pytest.mark.parametrize("n_sparse", ["many", None, float("nan"), float("inf"), 2.5, 0, {"Si": "x"}])
def test_impossible_numbers_of_sparse_points(n_sparse):
    with pytest.raises(InputError, match=r"n_sparse = .* must be a positive whole number"):
        Term(SOAP(["Si"]), n_sparse=n_sparse).validate()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"terms: [\n", r"cannot be read: while parsing"),
        (b"a: b: c\n", r"cannot be read: mapping values are not allowed here"),
        (b"\xff\xfe\x00", r"cannot be read: "),
        (b"", r"must be a mapping such as 'terms: "),
        (b"- one\n- two\n", r"must be a mapping"),
        (b"just text\n", r"must be a mapping"),
        (b"!!python/object/apply:os.getcwd []\n", r"cannot be read: could not determine a constructor"),
    ],
)
def test_unreadable_configuration(tmp_path, content, message):
    path = tmp_path / "model.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"the configuration '.*model.yaml' " + message) as error:
        read_yaml(path)
    assert "\n" not in str(error.value)


def test_missing_configuration_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"no_such.yaml' cannot be read: .*No such file"):
        read_yaml(tmp_path / "no_such.yaml")
    with pytest.raises(InputError, match=r"cannot be read: .*directory"):
        read_yaml(tmp_path)


def test_yaml_mapping_comes_back(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text("terms:\n  - {descriptor: {species: [Cu, Au], cutoff: 4}}\nenergy_noise: 0.001 # Å\n", "utf-8")
    data = read_yaml(path)
    assert data["energy_noise"] == 0.001
    assert term_from_dict(data["terms"][0]) == Term(SOAP(["Cu", "Au"], 4.0))
