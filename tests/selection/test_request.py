import pytest

from bcq_exp.ope.estimators import ESTIMATORS
from bcq_exp.selection.request import check_fit, checked_request
from cases import checked, composed


def request_of(*overrides: str):
    return checked_request(composed("run=DIR", *overrides, config="evaluate"))


@pytest.mark.parametrize(
    ("typed", "names"), [("null", []), ("fqe", ["fqe"]), ("wis", ["wis"]), ("[dr,wis,dr]", ["dr", "wis"])]
)
def test_ope_is_nothing_a_name_or_several(typed: str, names: list[str]):
    estimators = request_of(f"ope={typed}").estimators
    assert list(estimators) == names
    assert [type(estimator) for estimator in estimators.values()] == [ESTIMATORS[name] for name in names]


def test_an_estimators_own_key_is_its_own():
    request = request_of("ope=[fqe,wis,dr]", "target_update_freq=7")
    own = {name: vars(estimator) for name, estimator in request.estimators.items()}
    assert own == {"fqe": {"target_update_freq": 7}, "wis": {}, "dr": {"target_update_freq": 7}}
    assert not hasattr(request.settings, "target_update_freq")


def test_a_wrong_key_of_an_estimator_is_named_once_whatever_is_asked_for():
    with pytest.raises(ValueError, match=r"\Atarget_update_freq=0 is outside \[1, inf\)\Z"):
        request_of("ope=wis", "target_update_freq=0")
    with pytest.raises(ValueError, match=r"\Atarget_update_freq has no value; give one: target_update_freq=\.\.\.\Z"):
        request_of("ope=wis", "target_update_freq=???")


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
        (["network.dropout=0.1"], r"network\.dropout=0.1 is of policies"),
        (["network.policy_last_layer_scale=0.1"], r"network\.policy_last_layer_scale=0.1 is of policies"),
        (["network.init=zeros"], "network.init=zeros is none of torch, orthogonal, fan_in, variance_scaling"),
        (["+network.softmax=true"], "network.softmax is not a key"),
    ],
)
def test_a_wrong_key_is_named(overrides: list[str], said: str):
    with pytest.raises(ValueError, match=said):
        request_of(*overrides)


def test_gamma_one_is_for_recorded_returns():
    assert request_of("gamma=1", "ope=wis").settings.gamma == 1


def test_the_directory_has_to_be_given():
    with pytest.raises(ValueError, match=r"run has no value; give one: run=\.\.\."):
        checked_request(composed("ope=fqe", config="evaluate"))


def test_densities_are_not_asked_of_policies_that_are_sure():
    pendulum = checked("algorithm=bcq", "dataset=pendulum-noisy")
    check_fit(request_of("ope=fqe"), pendulum)
    with pytest.raises(ValueError, match=r"ope=wis, dr is for discrete actions, not Box.*give ope=fqe"):
        check_fit(request_of("ope=[wis,fqe,dr]"), pendulum)
    check_fit(request_of("ope=[wis,fqe,dr]"), checked())


def test_a_network_that_cannot_see_is_refused():
    with pytest.raises(ValueError, match=r"network=nature_cnn takes uint8 observations"):
        check_fit(request_of("ope=fqe", "network=nature_cnn"), checked())
