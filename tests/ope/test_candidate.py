import numpy as np

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy
from bcq_exp.ope.action_table import tabulate
from bcq_exp.ope.candidate import candidates
from bcq_exp.selection.estimation import recording_of
from quick import request_of


def test_a_policy_is_asked_once_what_it_does_in_each_state(discrete_runs: list[TrainedRun]):
    request, policy, asked = request_of("[dr,pdwis]"), load_policy(discrete_runs[0]), []
    policy.register_forward_pre_hook(lambda _, batches: asked.append(batches[0].obs))
    recording = recording_of(discrete_runs[0].cfg, request)
    (candidate,) = candidates(recording, [policy])
    for estimator in request.estimators.values():
        estimator.estimate(candidate)
    data = recording.data
    assert np.array_equal(np.concatenate(asked), np.concatenate([data.obs_next, data.obs]))
    # Asked once more, it would say the same of the next states.
    value = candidate.fitted_values(request.estimators["dr"].target_update_freq)
    again = value.of_states(data.obs_next, tabulate(policy, data.obs_next, data.mask_next))
    assert np.array_equal(value.of_next_states(data.obs_next), again)


def test_the_values_of_all_are_fitted_once(discrete_runs: list[TrainedRun], monkeypatch):
    recording = recording_of(discrete_runs[0].cfg, request_of("fqe"))
    fits = []
    monkeypatch.setattr(recording, "fitted_values", lambda policies, freq: fits.append(freq) or [*range(len(policies))])
    first, second = candidates(recording, [load_policy(run) for run in discrete_runs])
    assert fits == []
    assert (first.fitted_values(5), second.fitted_values(5), second.fitted_values(5)) == (0, 1, 1)
    assert fits == [5]
