"""Configuration: what is refused, and what profiles and variants change."""

import math
from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from fdhmfe.config import profiles, settings
from fdhmfe.config.methods import METHODS
from fdhmfe.config.profiles import PROFILES, SEEDS, VARIANTS
from fdhmfe.config.settings import RANGES, TYPES, Config, load, meanings
from fdhmfe.support.places import REPOSITORY

BASE = asdict(Config())


def changes(made: Config) -> dict:
    """Settings that differ from the defaults."""
    return {name: value for name, value in asdict(made).items() if value != BASE[name]}


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("bit", "bits"), ("datadir", "data_dir"), ("triplet_wieght", "triplet_weight")],
)
def test_unknown_parameter_names_the_nearest(wrong, nearest):
    with pytest.raises(ValueError, match=f"'{wrong}'; did you mean '{nearest}'"):
        load("quick", **{wrong: 12})


def test_unknown_parameter_near_nothing_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown parameter 'zzz' Known: .*bits.*variant"):
        load("quick", zzz=1)


@pytest.mark.parametrize(
    ("name", "wrong", "nearest"),
    [
        ("dataset", "cub", "cub200"),
        ("dataset", "leeds", "leeds_butterfly"),
        ("method", "fdhmfe", "fdh-mfe"),
        ("method", "a2net", "a2-net"),
        ("variant", "no_graph", "no-graph"),
        ("proxies", "max-min", "maxmin"),
        ("protocol", "all-clases", "all-classes"),
    ],
)
def test_bad_choice_names_the_nearest(name, wrong, nearest):
    with pytest.raises(ValueError, match=f"{name}='{wrong}'.*did you mean '{nearest}'"):
        load("quick", **{name: wrong})


def test_bad_profile_names_the_nearest():
    with pytest.raises(ValueError, match=r"profile='quik'.*did you mean 'quick'"):
        load("quik")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bits", "48", "must be int, not str"),
        ("bits", 48.0, "must be int, not float"),
        ("bits", True, "must be int, not bool"),
        ("bits", None, "must be int, not NoneType"),
        ("reuse", 1, "must be bool, not int"),
        ("margin", "0.2", "must be float, not str"),
        ("data_dir", 7, "must be str, not int"),
        ("trainable", ["none"], "is not known"),
    ],
)
def test_wrong_type_is_named(name, value, message):
    with pytest.raises(ValueError, match=f"{name}=.*{message}"):
        load("quick", **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("bits", 0, "1 or more, and 256 or less"),
        ("bits", 512, "1 or more, and 256 or less"),
        ("seed", -1, "0 or more, and 4294967295 or less"),
        ("seed", 2**32, "0 or more, and 4294967295 or less"),
        ("epochs", 0, "1 or more"),
        ("batch_size", 1, "2 or more"),
        ("toy_classes", 1, "2 or more"),
        ("views", 1, "2 or more"),
        ("image_size", 31, "32 or more"),
        ("keep", 0, "1 or more"),
        ("graph_depth", -1, "0 or more"),
        ("workers", -1, "0 or more"),
        ("fold", 5, "0 or more, and 4 or less"),
        ("fold", -1, "0 or more, and 4 or less"),
        ("validation_share", 0.0, "more than 0, and less than 1"),
        ("validation_share", 1.0, "more than 0, and less than 1"),
        ("dropout", 1.0, "0 or more, and less than 1"),
        ("label_smoothing", math.nan, "0 or more, and less than 1"),
        ("margin", 2.5, "0 or more, and 2 or less"),
        ("triplet_margin", -0.1, "0 or more, and 1 or less"),
        ("weight_decay", -0.1, "0 or more"),
        ("triplet_weight", math.inf, "0 or more"),
        ("learning_rate", 0.0, "more than 0"),
        ("learning_rate", math.inf, "more than 0"),
        ("scale", -1.0, "more than 0"),
    ],
)
def test_a_number_out_of_its_range_is_named_with_the_range_and_the_meaning(name, value, allowed):
    with pytest.raises(ValueError) as caught:
        load("quick", **{name: value})
    assert str(caught.value) == f"{name}={value} must be {allowed}: {meanings()[name]}"


def test_every_number_has_a_range_and_no_range_holds_nan():
    numbers = {name for name, kind in TYPES.items() if kind in (int, float)}
    assert set(RANGES) == numbers
    assert not any(each.holds(math.nan) for each in RANGES.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [("bits", 256), ("seed", 0), ("fold", 4), ("dropout", 0.0), ("weight_decay", 0), ("margin", 2)],
)
def test_the_ends_of_a_range_are_in_it(name, value):
    assert getattr(load("quick", **{name: value}), name) == value


def test_kept_tokens_must_fit_among_the_nodes():
    assert load("quick", keep=40).keep == 40
    with pytest.raises(ValueError, match="keep=41 is more than nodes=40"):
        load("quick", keep=41)
    with pytest.raises(ValueError, match="keep=12 is more than nodes=5"):
        load("quick", nodes=5)


def test_an_integer_is_a_valid_float():
    margin = load("quick", margin=1).margin
    assert type(margin) is float
    assert margin == 1.0


@pytest.mark.parametrize(("method", "name"), [(m, name) for m in VARIANTS for name in VARIANTS[m]])
def test_a_variant_changes_exactly_what_it_lists(method, name):
    full, made = asdict(load("quick", method=method)), load("quick", method=method, variant=name)
    expected = {**VARIANTS[method][name], "variant": name}
    assert {k: v for k, v in asdict(made).items() if v != full[k]} == expected


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_profile_changes_exactly_what_it_lists(name, monkeypatch):
    monkeypatch.setattr(settings, "tuning", lambda *names: {})  # as before any tuning
    listed = {**PROFILES[name], **({} if name == "quick" else {"profile": name})}
    assert changes(load(name)) == {key: v for key, v in listed.items() if v != BASE[key]}


def test_overrides_come_after_the_profile_and_the_variant():
    made = load("smoke", variant="no-triplet", triplet_weight=0.7, epochs=5)
    assert (made.triplet_weight, made.epochs) == (0.7, 5)


def test_profiles_and_methods_hold_valid_settings():
    for listed in (*PROFILES.values(), *(each.settings for each in METHODS.values())):
        assert changes(load("quick", **listed)) == listed


def test_the_method_of_the_paper_has_nothing_that_is_ours():
    own, plus = load("quick"), load("quick", method="fdh-mfe+")
    assert not (own.arranged or own.proxy_readout)
    assert plus.arranged and plus.proxy_readout


def test_a_method_has_no_variants_but_its_own():
    with pytest.raises(ValueError, match="variant='no-graph' of lsh is not known Known: full"):
        load("quick", method="lsh", variant="no-graph")
    with pytest.raises(ValueError, match="variant='open' of fdh-mfe is not known"):
        load("quick", variant="open")


def test_tuned_settings_lie_between_profile_and_variant(tmp_path, monkeypatch):
    tuned = tmp_path / "tuned.csv"
    names = "profile,trainable,method,learning_rate,hash_head,loss_weight"
    tuned.write_text(f"{names}\nquick,none,csq,0.5,mlp,\nquick,tail,csq,0.7,,2\n")
    monkeypatch.setattr(profiles, "TUNED", tuned)
    made = load("quick", method="csq")
    assert (made.learning_rate, made.hash_head, made.loss_weight) == (0.5, "mlp", 1.0)
    other = load("quick", method="csq", trainable="tail")
    assert (other.learning_rate, other.hash_head, other.loss_weight) == (0.7, "linear", 2.0)
    assert load("quick").learning_rate == Config.learning_rate
    assert load("quick", method="csq", learning_rate=0.1).learning_rate == 0.1


def test_only_a_small_test_set_gets_more_seeds_and_only_where_there_are_several():
    assert profiles.table_seeds("laptop", "leeds_butterfly") == (0, 1, 2, 3, 4)
    assert profiles.table_seeds("laptop", "cub200") == SEEDS["laptop"]
    assert profiles.table_seeds("quick", "leeds_butterfly") == SEEDS["quick"]


def test_config_and_its_tables_are_frozen():
    with pytest.raises(FrozenInstanceError):
        load("quick").bits = 12
    with pytest.raises(TypeError):
        PROFILES["mine"] = {}
    with pytest.raises(TypeError):
        VARIANTS["mine"] = {}


def test_every_setting_has_a_default_of_a_plain_type():
    assert {type(field.default) for field in fields(Config)} <= {str, int, float, bool}


def test_relative_paths_start_where_one_stands_and_mean_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    made = load("smoke", dataset="cub200", data_dir="~/birds", results_dir="out")
    monkeypatch.chdir("/")
    assert made.data_dir == str(tmp_path / "me" / "birds")
    assert made.output_dir == tmp_path / "out" / "smoke"


def test_results_go_below_the_checkout_or_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.delenv("FDHMFE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert load("quick").output_dir == REPOSITORY / "results" / "quick"
    monkeypatch.setenv("FDHMFE_HOME", "here")
    assert load("quick").output_dir == tmp_path / "here" / "results" / "quick"
    assert load("quick", results_dir=str(tmp_path)).output_dir == tmp_path / "quick"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data_dir": "birds"}, "data_dir=.*birds' has no effect: .* name the dataset"),
        ({"weights": "w.pth"}, "weights=.*w.pth' has no effect: .* name the backbone"),
    ],
)
def test_a_path_that_nothing_reads_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        load("quick", **given)
    assert load("laptop", dataset="cub200", **given).bits == 48


def test_every_setting_says_what_it_means():
    assert [name for name in BASE if len(meanings().get(name, "")) < 10] == []
