from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from adjusters import registry
from adjusters.contract import Adjuster, Card, ContractError
from adjusters.registry import BUILT_IN, adjuster, available, card, describe, load_adjuster, register
from adjusters.toy import ESTIMAND, toy_cohort


class Mine(Adjuster):
    card = Card(summary="Mine.")


def test_names_options_and_cards() -> None:
    assert set(BUILT_IN) <= set(available())
    assert adjuster("backdoor", prior="marginal").options()["prior"] == "marginal"
    assert card("ipw").needs == ("severity", "treatment")
    assert set(describe()) == set(available())


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("backdor", {}, "did you mean 'backdoor'"),
        ("zzz", {}, "there are .*ipw"),
        ("ipw", {"clp": 2}, "no option 'clp'; its options are scheme, clip"),
        ("none", {"x": 1}, "it has no options"),
        ("ipw", {"clip": -1}, "must be a positive weight"),
        ("ipw", {"scheme": "overlap", "clip": 3}, "bounded already"),
        ("backdoor", {"prior": "flat"}, "conditional or marginal, not 'flat'"),
        ("stratified", {"epochs": 1.5}, "whole number"),
        ("stratified", {"min_ess": float("nan")}, "min_ess must be a number of rows"),
    ],
)
def test_bad_names_and_options_are_one_sentence(name: str, options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says) as caught:
        adjuster(name, **options)
    assert "\n" not in str(caught.value)


def test_registering_and_duplicates() -> None:
    register("mine_in_test")(Mine)
    try:
        assert adjuster("mine_in_test").card.summary == "Mine."
        register("mine_in_test")(Mine)  # the same class again is no conflict
        with pytest.raises(ContractError, match="already taken"):
            register("mine_in_test")(type("Other", (Mine,), {}))
    finally:
        registry._registered.pop("mine_in_test")
    with pytest.raises(ContractError, match="already taken"):
        register("ipw")(Mine)


def test_entry_points_of_strangers(monkeypatch) -> None:
    def points(found):
        monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint(n, v, group) for n, v in found])
        registry._announced.cache_clear()

    try:
        points([("theirs", "adjusters.none:NoAdjustment")])
        assert available()["theirs"] == "adjusters.none:NoAdjustment"
        assert adjuster("theirs").card.summary.startswith("No adjustment")
        points([("broken", "nowhere_at_all:Class")])
        with pytest.raises(ContractError, match="cannot be imported"):
            adjuster("broken")
        assert "cannot be imported" in describe()["broken"] and describe()["ipw"] == card("ipw").summary
        points([("ipw", "theirs:IPW")])
        with pytest.raises(ContractError, match="two adjusters are called 'ipw'"):
            available()
    finally:
        registry._announced.cache_clear()


def test_a_stranger_is_named_by_its_distribution(monkeypatch) -> None:
    from importlib.metadata import entry_points

    real = next(iter(entry_points(group="pytest11")))  # of an installed package, whatever it announces
    monkeypatch.setattr(registry, "entry_points", lambda group: [real])
    assert registry._of_package(real.value) == f" (of the installed package {real.dist.name})"
    assert registry._of_package("nobody:Nothing") == ""


def test_the_nearest_name_is_suggested_among_registered_ones_too() -> None:
    register("mine_in_test")(Mine)
    try:
        with pytest.raises(ContractError, match="did you mean 'mine_in_test'"):
            adjuster("mine_in_tst")
        assert describe()["mine_in_test"] == "Mine."
    finally:
        registry._registered.pop("mine_in_test")
    with pytest.raises(ContractError, match="no adjuster is called 'mine_in_test'"):
        adjuster("mine_in_test")


def test_a_strangers_module_is_imported_only_when_asked_for(monkeypatch) -> None:
    found = [EntryPoint("theirs", "nowhere_at_all:Class", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == registry.GROUP else [])
    registry._announced.cache_clear()
    try:
        assert available()["theirs"] == "nowhere_at_all:Class"
        assert adjuster("ipw").card.summary, "a broken stranger does not stop the others"
    finally:
        registry._announced.cache_clear()


def test_a_saved_adjuster_comes_back_as_what_it_was(tmp_path) -> None:
    table = toy_cohort(rho=0.9, train=400, valid=10, test=10, seed=0).split("train")
    ours = adjuster("ipw", clip=3.0).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    ours.save(tmp_path)
    again = load_adjuster(tmp_path)
    assert type(again) is type(ours) and again.options() == ours.options()
    assert again.estimand_ == ours.estimand_
    assert np.array_equal(again.weights(table), ours.weights(table))
    with pytest.raises(
        ContractError, match="holds a adjusters.severity_based.ipw:InverseProbabilityWeighting, not a Mine"
    ):
        Mine.load(tmp_path)


def test_a_class_no_longer_registered_is_not_loaded(tmp_path) -> None:
    register("mine_in_test")(Mine)
    try:
        Mine().save(tmp_path)
        assert isinstance(load_adjuster(tmp_path), Mine)
    finally:
        registry._registered.pop("mine_in_test")
    with pytest.raises(ContractError, match="Mine, which is not installed"):
        load_adjuster(tmp_path)


def test_only_known_classes_are_loaded(tmp_path) -> None:
    with pytest.raises(ContractError, match="holds no adjuster.json"):
        load_adjuster(tmp_path)
    record = {"class": "os:system", "options": {}, "state": {}, "estimand": None}
    (tmp_path / "adjuster.json").write_text(json.dumps(record))
    with pytest.raises(ContractError, match="os:system, which is not installed"):
        load_adjuster(tmp_path)
