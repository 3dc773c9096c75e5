"""Faults that golden tests must see: each is an edit of the source, tried on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
# Pytest on the copy of the package that lies in the working directory, never on the installed one.
RUN = """
import pathlib, sys, pytest, bcq_exp
assert pathlib.Path(bcq_exp.__file__).is_relative_to(pathlib.Path.cwd()), bcq_exp.__file__
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Mutation:
    """A named fault.

    Args:
        name: what is wrong.
        file: of the package.
        old, new: the source as it is, where it occurs exactly once, and with the fault.
        tests: the files whose tests shall see it.
        select: the expression that selects tests in them; each selected test shall fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    select: str = "golden"

    def apply(self, package: Path) -> None:
        """Edit a copy of the package."""
        path = package / self.file
        source = path.read_text()
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} occurs {source.count(self.old)} times"
        path.write_text(source.replace(self.old, self.new))


BCQ, DISCRETE_BCQ, DQN, TD3, TD3_BC = (
    f"algorithms/test_{name}.py" for name in ("bcq", "discrete_bcq", "dqn", "td3", "td3_bc")
)

AWAC, BC, BC_DISCRETE, CQL, CRR, IQL, MCQ = (
    f"algorithms/test_{name}.py" for name in ("awac", "bc", "bc_discrete", "cql", "crr", "iql", "mcq")
)
DDPG, DISCRETIZED_DQN, VAE_BC, REBRAC, BEAR = (
    f"algorithms/test_{name}.py" for name in ("ddpg", "discretized_dqn", "vae_bc", "rebrac", "bear")
)

SAC_N, EDAC = (f"algorithms/test_{name}.py" for name in ("sac_n", "edac"))
KL_CONTROL, SPIBB_DQN = (f"algorithms/test_{name}.py" for name in ("kl_control", "spibb_dqn"))
DISCRETE_CQL, DISCRETE_CRR, DISCRETE_IQL, QRDQN, REM = (
    f"algorithms/test_{name}.py" for name in ("discrete_cql", "discrete_crr", "discrete_iql", "qrdqn", "rem")
)

MUTATIONS = (
    Mutation(
        "target_perturbation_removed",
        "algorithms/bcq.py",
        'targets["actor"](obs_next, nets["decoder"](obs_next, noise["latent"].flatten(0, 1)))  # (B N, A)',
        'nets["decoder"](obs_next, noise["latent"].flatten(0, 1))',
        (BCQ,),
    ),
    Mutation(
        "truncated_as_terminal",
        "policies/batches.py",
        'num_steps = get(batch, "num_steps")',
        'num_steps = get(batch, "num_steps")\n    columns["terminated"] = columns["terminated"] | columns["truncated"]',
        (BCQ, DISCRETE_BCQ, DQN, TD3_BC),
    ),
    Mutation(
        "mask_dropped_from_target",
        "algorithms/discrete_bcq.py",
        'hp["unlikely_action_threshold"], batch.get("mask_next"))',
        'hp["unlikely_action_threshold"], None)',
        (DISCRETE_BCQ,),
    ),
    Mutation(
        "likely_rule_dropped_from_target",
        "algorithms/discrete_bcq.py",
        "batch, hp, likely_BA, is_double",
        'batch, hp, batch.get("mask_next"), is_double',
        (DISCRETE_BCQ,),
    ),
    Mutation(
        "twin_critics_identical",
        "policies/bcq.py",
        "critic2 = twin(critic)",
        "critic2 = copy.deepcopy(critic)",
        (BCQ,),
        "twin_critics",
    ),
    Mutation(
        "soft_clipped_min_only",
        "ops/td.py",
        "lmbda * torch.minimum(q1, q2) + (1 - lmbda) * torch.maximum(q1, q2)\n",
        "torch.minimum(q1, q2)\n",
        (BCQ,),
    ),
    Mutation(
        "kl_weight_dropped",
        "algorithms/bcq.py",
        "reconstruction + KL_WEIGHT * kl",
        "reconstruction + kl",
        (BCQ,),
    ),
    Mutation(
        "latent_not_clipped_in_target",
        "algorithms/bcq.py",
        'Draw("normal", (num_sampled_action, latent_dim), LATENT_CLIP)',
        'Draw("normal", (num_sampled_action, latent_dim))',
        (BCQ,),
    ),
    Mutation(
        "online_critic_in_target",
        "algorithms/bcq.py",
        'targets["critic1"](obs_next, act_next)',
        'nets["critic1"](obs_next, act_next)',
        (BCQ,),
    ),
    Mutation(
        "ddpg_actor_climbs_the_target_critic",
        "algorithms/ddpg.py",
        'loss = -nets["critic"](',
        'loss = -targets["critic"](',
        (DDPG,),
    ),
    Mutation(
        "discretized_dqn_takes_the_best_of_the_online_network",
        "algorithms/discretized_dqn.py",
        'targets["model"](batch["obs_next"])',
        'nets["model"](batch["obs_next"])',
        (DISCRETIZED_DQN,),
    ),
    Mutation(
        "discretized_dqn_bins_off_by_half",
        "algorithms/discretized_dqn.py",
        "(share_BA * num_bins).long()",
        "(share_BA * num_bins + 0.5).long()",
        (DISCRETIZED_DQN,),
    ),
    Mutation(
        "vae_bc_latent_not_clipped",
        "algorithms/vae_bc.py",
        'Draw("normal", (latent_dim,), bcq.LATENT_CLIP)',
        'Draw("normal", (latent_dim,))',
        (VAE_BC,),
    ),
    Mutation(
        "rebrac_penalty_of_this_action",
        "algorithms/rebrac.py",
        'squared_distance(act_BA, batch["act_next"])',
        'squared_distance(act_BA, batch["act"])',
        (REBRAC,),
    ),
    Mutation(
        "rebrac_cut_rows_train",
        "algorithms/rebrac.py",
        'batch["terminated"] | batch["has_act_next"]',
        'batch["terminated"] | ~batch["terminated"]',
        (REBRAC,),
    ),
    Mutation(
        "rebrac_one_penalty_for_both",
        "algorithms/rebrac.py",
        'hp["critic_penalty"]',
        'hp["actor_penalty"]',
        (REBRAC,),
    ),
    Mutation(
        "layer_norm_before_activation",
        "networks/mlp.py",
        "layers.append(nn.LayerNorm(fan_out, eps=NORM_EPS))",
        "layers.insert(-1, nn.LayerNorm(fan_out, eps=NORM_EPS))",
        (REBRAC,),
    ),
    Mutation(
        "bear_mmd_of_bounded_actions",
        "algorithms/bear.py",
        "squared_mmd(cloned_BNA, raw_BNA,",
        "squared_mmd(cloned_BNA.tanh(), raw_BNA.tanh(),",
        (BEAR,),
    ),
    Mutation(
        "bear_warm_up_with_values",
        "algorithms/bear.py",
        "Stage(warmup_loss, trains",
        "Stage(policy_loss, trains",
        (BEAR,),
    ),
    Mutation(
        "bear_multiplier_fixed",
        "algorithms/bear.py",
        "loss = multiplier * mmd + multiplier_loss(",
        "loss = multiplier * mmd + 0 * multiplier_loss(",
        (BEAR,),
    ),
    Mutation(
        "mmd_without_cross_term",
        "ops/mmd.py",
        " - 2 * similarity(x_BNA, y_BMA)",
        "",
        (BEAR,),
    ),
    Mutation(
        "td3_delay_ignored",
        "algorithms/td3.py",
        'trains=("actor",), every=policy_freq)',
        'trains=("actor",))',
        (TD3, TD3_BC),
    ),
    Mutation(
        "td3_largest_of_twins",
        "algorithms/td3.py",
        "torch.minimum(critics",
        "torch.maximum(critics",
        (TD3, TD3_BC),
    ),
    Mutation(
        "td3_action_not_smoothed",
        "algorithms/td3.py",
        'targets["actor"](batch["obs_next"]) + eps_BA',
        'targets["actor"](batch["obs_next"])',
        (TD3, TD3_BC),
    ),
    Mutation(
        "td3_bc_clones_nothing",
        "algorithms/td3_bc.py",
        "* q_B.mean() + bc_loss",
        "* q_B.mean()",
        (TD3_BC,),
    ),
    Mutation(
        "gaussian_clone_counts_no_deviation",
        "ops/gaussian.py",
        "(0.5 * scaled_A.square() + log_std_A +",
        "(0.5 * scaled_A.square() +",
        (BC, IQL),
        "golden and not continuous",
    ),
    Mutation(
        "awac_weights_sum_to_one",
        "algorithms/awac.py",
        "len(advantage_B) * torch.softmax",
        "torch.softmax",
        (AWAC,),
        "golden and batch",
    ),
    Mutation(
        "awac_bare_weights_overflow",
        "algorithms/awac.py",
        ".clamp(max=LARGEST_EXPONENT)",
        "",
        (AWAC,),
        "bare_weights",
    ),
    Mutation(
        "awac_advantage_is_the_value",
        "algorithms/awac.py",
        'smallest_value(nets, batch["obs"], batch["act"]) - value_B',
        'smallest_value(nets, batch["obs"], batch["act"])',
        (AWAC,),
        "golden and none",
    ),
    Mutation(
        "cql_samples_not_weighted",
        "algorithms/cql.py",
        "q_BM - log_density_BM, -1",
        "q_BM, -1",
        (CQL,),
    ),
    Mutation(
        "cql_dataset_not_raised",
        "algorithms/cql.py",
        "log_density_BM, -1) - q_B)",
        "log_density_BM, -1))",
        (CQL,),
    ),
    Mutation(
        "cql_multiplier_descends",
        "algorithms/cql.py",
        "-(multiplier * excess.detach())",
        "(multiplier * excess.detach())",
        (CQL,),
        "golden and 0.5",
    ),
    Mutation(
        "mcq_pulls_up_too",
        "algorithms/mcq.py",
        'excess_BN.relu() if excess == "rectified" else excess_BN',
        "excess_BN",
        (MCQ,),
        "golden and rectified",
    ),
    Mutation(
        "mcq_pulls_down_only",
        "algorithms/mcq.py",
        'excess_BN.relu() if excess == "rectified" else excess_BN',
        "excess_BN.relu()",
        (MCQ,),
        "golden and square",
    ),
    Mutation(
        "mcq_pseudo_targets_unbounded",
        "algorithms/mcq.py",
        "y_B if lowest is None else y_B.clamp(min=lowest)",
        "y_B",
        (MCQ,),
        "golden and 0.0",
    ),
    Mutation(
        "mcq_mean_of_the_known_actions",
        "algorithms/mcq.py",
        ".amax(-1).amin(0)",
        ".mean(-1).amin(0)",
        (MCQ,),
    ),
    Mutation(
        "sac_n_mean_of_all_critics",
        "algorithms/sac_n.py",
        'critics["critics"](obs, act_BA).amin(0)',
        'critics["critics"](obs, act_BA).mean(0)',
        (SAC_N,),
        "golden",
    ),
    Mutation(
        "ensemble_learns_as_one",
        "algorithms/sac_n.py",
        "return error_N.sum(),",
        "return error_N.mean(),",
        (SAC_N,),
    ),
    Mutation(
        "edac_slopes_of_any_length",
        "algorithms/edac.py",
        " / (torch.linalg.vector_norm(slope_NBA, dim=-1, keepdim=True) + NORM_EPS)",
        "",
        (EDAC,),
        "golden or by_hand",
    ),
    Mutation(
        "edac_similarity_pays",
        "algorithms/edac.py",
        'loss + hp["eta"] * alike',
        'loss - hp["eta"] * alike',
        (EDAC,),
        "golden or come_apart",
    ),
    Mutation(
        "next_action_of_a_dropped_row_unknown",
        "data/buffer.py",
        '~batch["terminated"] if is_column else has_row',
        "has_row",
        (REBRAC,),
        "that_was_dropped",
    ),
    Mutation(
        "squashing_not_counted",
        "ops/gaussian.py",
        "log_prob(raw_A, mean_A, log_std_A) - log_slope_A.sum(-1)",
        "log_prob(raw_A, mean_A, log_std_A)",
        (CQL,),
    ),
    Mutation(
        "entropy_falls",
        "algorithms/sac.py",
        "temperature = -log_alpha",
        "temperature = log_alpha",
        (CQL,),
    ),
    Mutation(
        "crr_mean_for_max",
        "algorithms/crr.py",
        'q_BN.amax(-1) if weight == "binary_max" else q_BN.mean(-1)',
        "q_BN.mean(-1)",
        (CRR,),
        "golden and binary_max",
    ),
    Mutation(
        "crr_acts_by_values_without_temperature",
        "algorithms/crr.py",
        '(q_BN / hp["beta"]).softmax(-1)',
        "q_BN.softmax(-1)",
        (CRR,),
        "critic_weighted",
    ),
    Mutation(
        "crr_weights_unbounded",
        "algorithms/crr.py",
        '.exp().minimum(hp["max_weight"])',
        ".exp()",
        (CRR,),
        "golden and exp",
    ),
    Mutation(
        "expectile_is_the_mean",
        "ops/expectile.py",
        "torch.where(error_B < 0, 1 - expectile, expectile)",
        "torch.full_like(error_B, 0.5)",
        (IQL,),
    ),
    Mutation(
        "iql_weights_unbounded",
        "algorithms/iql.py",
        '.exp().minimum(hp["max_weight"])',
        ".exp()",
        (IQL,),
    ),
    Mutation(
        "iql_weights_by_online_critics",
        "algorithms/iql.py",
        "advantage_B = smallest_value(targets,",
        "advantage_B = smallest_value(nets,",
        (IQL,),
    ),
    Mutation(
        "quantile_weights_reversed",
        "ops/quantile.py",
        "torch.where(error_NMB < 0, 1 - tau",
        "torch.where(error_NMB > 0, 1 - tau",
        (QRDQN,),
    ),
    Mutation(
        "quantile_targets_averaged",
        "algorithms/qrdqn.py",
        "q_loss = quantile_huber_loss(theta_NB, y_NB,",
        "q_loss = quantile_huber_loss(theta_NB, y_NB.mean(0, keepdim=True),",
        (QRDQN,),
    ),
    Mutation(
        "cql_pushes_all_actions_down",
        "algorithms/discrete_cql.py",
        "(among_available(q_BA, available_BA).logsumexp(-1) - take_action(q_BA, act_B)).mean()",
        "among_available(q_BA, available_BA).logsumexp(-1).mean()",
        (DISCRETE_CQL,),
    ),
    Mutation(
        "rem_target_of_the_mean",
        "algorithms/rem.py",
        "mixed, slow = (mixture(group, alpha_H) for group in (nets, targets))",
        "mixed, slow = mixture(nets, alpha_H), mixture(targets, alpha_H * 0 + 1 / num_heads)",
        (REM,),
    ),
    Mutation(
        "rem_weights_not_normalised",
        "algorithms/rem.py",
        "drawn_H / drawn_H.sum()",
        "drawn_H",
        (REM,),
    ),
    Mutation(
        "discrete_crr_advantage_over_the_best",
        "algorithms/discrete_crr.py",
        'advantage_B = q_B - expected_value(action_probabilities(logits_BA, batch.get("mask")), q_BA)',
        "advantage_B = q_B - q_BA.amax(-1)",
        (DISCRETE_CRR,),
    ),
    Mutation(
        "discrete_crr_target_of_the_best",
        "algorithms/discrete_crr.py",
        'value_B = expected_value(action_probabilities(logits_next_BA, batch.get("mask_next")), q_next_BA)',
        "value_B = q_next_BA.amax(-1)",
        (DISCRETE_CRR,),
    ),
    Mutation(
        "discrete_iql_clones",
        "algorithms/discrete_iql.py",
        "(weight_B * F.cross_entropy(",
        "(F.cross_entropy(",
        (DISCRETE_IQL,),
    ),
    Mutation(
        "kl_control_without_the_imitator",
        "algorithms/kl_control.py",
        "return log_ratio_B + n_step_target(",
        "return 0 * log_ratio_B + n_step_target(",
        (KL_CONTROL,),
    ),
    Mutation(
        "kl_control_reward_not_divided",
        "algorithms/kl_control.py",
        'batch["rew"] / hp["kl_weight"]',
        'batch["rew"]',
        (KL_CONTROL,),
    ),
    Mutation(
        "spibb_bootstraps_nothing",
        "algorithms/spibb_dqn.py",
        "counted_BA = behaviour_BA >= min_probability",
        "counted_BA = behaviour_BA >= 0 * min_probability",
        (SPIBB_DQN,),
    ),
    Mutation(
        "spibb_gives_all_to_the_best",
        "algorithms/spibb_dqn.py",
        "free_B = behaviour_BA.masked_fill(~counted_BA, 0).sum(-1)",
        "free_B = behaviour_BA.sum(-1)",
        (SPIBB_DQN,),
    ),
    Mutation(
        "mask_dropped_from_q_learning",
        "algorithms/dqn.py",
        'batch, hp, batch.get("mask_next"), is_double',
        "batch, hp, None, is_double",
        (DQN,),
        "golden and masked",
    ),
    Mutation(
        "mask_dropped_from_imitation",
        "algorithms/dqn.py",
        'nets["imitator"](batch["obs"]), batch.get("mask"))',
        'nets["imitator"](batch["obs"]), None)',
        (KL_CONTROL, SPIBB_DQN),
    ),
    Mutation(
        "discrete_bcq_clones_unavailable_actions",
        "algorithms/discrete_bcq.py",
        'among_available(logits_BA, batch.get("mask"))',
        "logits_BA",
        (DISCRETE_BCQ,),
        "golden and not quantiles",
    ),
    Mutation(
        "discrete_bcq_penalty_on_unavailable_actions",
        "algorithms/discrete_bcq.py",
        'mean_square(logits_BA, batch.get("mask"))',
        "mean_square(logits_BA, None)",
        (DISCRETE_BCQ,),
        "golden and not quantiles",
    ),
    Mutation(
        "cql_pushes_unavailable_actions_down",
        "algorithms/discrete_cql.py",
        'batch["act"], batch.get("mask"))',
        'batch["act"], None)',
        (DISCRETE_CQL,),
    ),
    Mutation(
        "kl_control_of_unavailable_actions",
        "algorithms/kl_control.py",
        'among_available(net(batch["obs"]), batch.get("mask"))',
        'net(batch["obs"])',
        (KL_CONTROL,),
        "golden or hand_over_the_available",
    ),
    Mutation(
        "spibb_behaves_in_unavailable_actions",
        "algorithms/spibb_dqn.py",
        'hp["min_probability"], batch.get("mask_next"))',
        'hp["min_probability"], None)',
        (SPIBB_DQN,),
    ),
    Mutation(
        "discrete_crr_expects_unavailable_actions",
        "algorithms/discrete_crr.py",
        'action_probabilities(logits_BA, batch.get("mask"))',
        "action_probabilities(logits_BA, None)",
        (DISCRETE_CRR,),
    ),
    Mutation(
        "discrete_iql_clones_unavailable_actions",
        "algorithms/discrete_iql.py",
        'nets["policy"](batch["obs"]), batch.get("mask"))',
        'nets["policy"](batch["obs"]), None)',
        (DISCRETE_IQL,),
    ),
    Mutation(
        "clone_of_unavailable_actions",
        "algorithms/bc_discrete.py",
        'nets["imitator"](batch["obs"]), batch.get("mask"))',
        'nets["imitator"](batch["obs"]), None)',
        (BC_DISCRETE,),
    ),
    Mutation(
        "huber_for_mse",
        "algorithms/dqn.py",
        "F.huber_loss if clip_loss_grad else F.mse_loss",
        "F.huber_loss",
        (DISCRETE_BCQ, DQN),
        "golden and square",
    ),
    Mutation(
        "is_double_ignored",
        "algorithms/dqn.py",
        'ranked_BA = nets["model"](batch["obs_next"]) if is_double else q_BA',
        'ranked_BA = nets["model"](batch["obs_next"])',
        (DISCRETE_BCQ, DQN, QRDQN),
        "golden and single",
    ),
    Mutation(
        "acting_on_raw_observations",
        "policies/normalization.py",
        "return act(nets, standardized(batch, hp), noise, hp)",
        "return act(nets, batch, noise, hp)",
        ("policies/test_normalization.py",),
        "acting_on_raw",
    ),
    Mutation(
        "next_observations_not_standardised",
        "policies/normalization.py",
        '("obs", "obs_next") if name in batch',
        '("obs",) if name in batch',
        ("policies/test_normalization.py",),
        "learning_from_raw",
    ),
    Mutation(
        "evaluating_the_greedy_policy",
        "ope/fitted_q.py",
        "expected_value(pi_BA, critic(obs))",
        "critic(obs).amax(-1)",
        ("ope/test_fitted_q.py",),
        "worked_by_hand and member1",
    ),
    Mutation(
        "evaluation_bootstraps_from_a_terminal_state",
        "ope/fitted_q.py",
        'batch["terminated"], value_B',
        'torch.zeros_like(batch["terminated"]), value_B',
        ("ope/test_fitted_q.py",),
        "worked_by_hand and member0",
    ),
    Mutation(
        "ended_episodes_leave_the_weights",
        "ope/importance.py",
        "_weighted_mean(error_E, log_rho_E, counts_RE)",
        "_weighted_mean(error_E, np.where(is_open_E, log_rho_E, -np.inf), counts_RE)",
        ("ope/test_importance.py",),
        "without_a_model or doubly_robust_estimate_by_hand or published_sum",
    ),
    Mutation(
        "doubly_robust_without_the_models_errors",
        "ope/importance.py",
        "rew_N + gamma * value_next_N - q_N",
        "rew_N + gamma * value_next_N",
        ("ope/test_importance.py",),
        "doubly_robust_estimate_by_hand or whatever",
    ),
    Mutation(
        "evaluation_without_exploration",
        "ope/action_table.py",
        "(1 - epsilon) * pi_BA + epsilon * available_BA / num_available_B1",
        "pi_BA.float() + 0 * num_available_B1",
        ("ope/test_action_table.py",),
        "by_hand or acts_as_often or its_own_probabilities",
    ),
)


def run(mutation: Mutation, directory: Path) -> None:
    """Try the tests that shall see the fault on a copy of the package in an empty directory.

    Raises:
        AssertionError: a test passes, or fails otherwise than by an assertion, or none is run.
    """
    package = directory / "bcq_exp"
    shutil.copytree(TESTS.parent / "bcq_exp", package)
    mutation.apply(package)
    config = ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(TESTS.parent)]
    bare = ["--disable-plugin-autoload", "-p", "no:cacheprovider"]  # loading plugins takes longer than the tests
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *config, *bare, "-q", "-rA", "--tb=line", "-k", mutation.select]
        + [str(TESTS / file) for file in mutation.tests],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(directory), "COLUMNS": "1000", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    verdicts = re.findall(r"^(?:PASSED|FAILED|ERROR) .*", ran.stdout, re.MULTILINE)
    others = [line for line in verdicts if not re.match(r"FAILED \S+ - (AssertionError|assert )", line)]
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert verdicts, ran.stdout + ran.stderr
    assert not others, "\n".join(others)
