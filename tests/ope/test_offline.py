import pytest

from bcq_exp.ope.offline import ESTIMATORS, check_fit, checked_task
from cases import checked, composed


def task(*overrides: str):
    return checked_task(composed("run=DIR", *overrides, config="evaluate"))


@pytest.mark.parametrize(
    ("typed", "estimators", "has_values", "has_ratios"),
    [
        ("null", (), False, False),
        ("fqe", ("fqe",), True, False),
        ("wis", ("wis",), False, True),
        ("[dr,wis,dr]", ("dr", "wis"), True, True),
    ],
)
def test_ope_is_nothing_a_name_or_several(typed: str, estimators: tuple[str, ...], has_values: bool, has_ratios: bool):
    found = task(f"ope={typed}")
    assert (found.estimators, found.has_values, found.has_ratios) == (estimators, has_values, has_ratios)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["ope=fqi"], f"ope=fqi is none of {', '.join(ESTIMATORS)}"),
        (["ope=[fqe,2]"], "ope=2 is none of"),
        (["ope={a: [fqe]}"], "ope={'a': \\['fqe'\\]} is none of"),
        (["ope=[[fqe]]"], r"ope=\['fqe'\] is none of"),
        (["ope=[???]"], r"ope\[0\] has no value"),
        (["network.kind=null"], r"network\.kind=None is none of"),
        (["device=meta"], "device=meta cannot be used"),
        (["seed=1e30"], "seed=1e"),
        (["allow_modules=own_envs"], "allow_modules=own_envs: "),
        (["gamma=1.5"], r"gamma=1.5 is outside \[0, 1\]"),
        (["gamma=1", "ope=dr"], "gamma=1: fitted values have no bound"),
        (["episodes=0"], "episodes=0 is outside"),
        (["num_updates=0", "obs_eps=0"], "(?s)num_updates=0 is outside.*obs_eps=0.0 is outside"),
        (["device=nonsense"], "device=nonsense cannot be used"),
        (["optimizer.lr=0"], "optimizer.lr=0.0 is outside"),
        (["+network.softmax=true"], "network.softmax is not a key"),
    ],
)
def test_a_wrong_key_is_named(overrides: list[str], said: str):
    with pytest.raises(ValueError, match=said):
        task(*overrides)


def test_gamma_one_is_for_recorded_returns():
    assert task("gamma=1", "ope=wis").settings.gamma == 1


def test_the_directory_has_to_be_given():
    with pytest.raises(ValueError, match=r"run has no value; give one: run=\.\.\."):
        checked_task(composed("ope=fqe", config="evaluate"))


def test_densities_are_not_asked_of_policies_that_are_sure():
    pendulum = checked("algorithm=bcq", "dataset=pendulum-noisy")
    check_fit(task("ope=fqe"), pendulum)
    with pytest.raises(ValueError, match=r"ope=wis, dr is for discrete actions, Pendulum-v1 has Box.*give ope=fqe"):
        check_fit(task("ope=[wis,fqe,dr]"), pendulum)
    check_fit(task("ope=[wis,fqe,dr]"), checked())


def test_a_network_that_cannot_see_is_refused():
    with pytest.raises(ValueError, match=r"network=nature_cnn takes uint8 observations"):
        check_fit(task("ope=fqe", "network=nature_cnn"), checked())
