"""Tests that `make thorough` runs and `make test` leaves out: further cases of what another test
shows, and whatever takes long. Continuous integration runs them all.

Patterns are those of `fnmatch` over the names of tests, without the folder `tests/`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

PATTERNS = (
    # Five processes, each with a run of its own.
    "app/test_two_processes.py::*",
    # Whole runs of further settings; one run of each family stays.
    "app/test_families.py::*cradle_baselines*",
    "app/test_families.py::*two_seeds*",
    "app/test_families.py::*cycseq_dose*",
    "models/cycseq/test_doses.py::*",
    "app/test_base.py::test_a_run_*",
    "app/test_base.py::test_a_reopened_run_*",
    "app/test_base.py::test_the_commands_*",
    "app/test_base.py::test_save_and_load_*",
    "tasks/screen/test_ensemble.py::test_the_run_*",
    "tasks/screen/test_ensemble.py::test_how_far_*",
    "tasks/screen/test_ensemble.py::test_predict_*",
    "tasks/screen/test_ensemble.py::test_seeds_of_*",
    "tasks/screen/test_ensemble.py::test_a_notebook_*",
    "tasks/screen/test_interval_runs.py::*gears_norman*",
    "tasks/screen/test_interval_runs.py::*baselines*",
    "models/set_gp/test_model.py::test_a_run_*",
    "models/set_gp/test_pairs.py::test_a_run_*",
    "models/set_gp/test_splits.py::*",
    "models/gears/test_runs.py::test_an_empty_validation_split_*",
    "models/gears/test_runs.py::test_the_validation_score_*",
    "models/cycseq/test_runs.py::test_fine_tuning_*",
    "models/cycseq/test_runs.py::test_an_interrupted_run_*",
    "models/cycseq/test_runs.py::test_no_epochs_*",
    "models/cradle/test_interpret_files.py::*",
    "models/baselines/test_model.py::test_a_run_scores_as_its_namesake_*",
    "models/*/test_translation.py::*",
    "app/test_figures_fail.py::*",
    "app/test_readme.py::test_a_loss_*",
    "app/test_readme.py::test_python_gives_predictions[[]start]",
    "app/test_python.py::test_five_lines_on_a_screen[[]scgen]",
    "app/test_sidebyside.py::test_values_and_differences_*",
    "app/test_sidebyside.py::test_a_run_beside_*",
    "app/test_score.py::test_command_leaves_*",
    # Trainings until a planted truth is found, and many tries of chance.
    "models/*/test_residual.py::test_what_is_left_over_the_base_is_learned",
    "evaluation/test_false_claims.py::*",
    # Figures of the papers, and embeddings.
    "models/cradle/paper/test_figures.py::*",
    "models/gears/paper/test_figures.py::*",
    "models/cradle/paper/test_generated_panels.py::*",
    "report/test_plots.py::test_umap_*",
    # Damaged files, kills and full disks at random.
    "robustness/*",
    # Against other libraries, which are slow.
    "data/test_quality.py::test_planted_doublets_are_called[[]scanpy]",
    "data/test_variable_genes.py::test_they_are_those_of_scanpy",
    "evaluation/schools/test_celleval.py::test_every_metric_agrees",
    "tasks/screen/test_cell_eval.py::test_cell_eval_itself_*",
    "test_benchmarks.py::*",
    # Half the digits of what is compared in float64.
    "parity/*float32*",
    # Further options and models of one mechanism.
    "models/*/test_model.py::test_options_train_and_differ*",
    "models/cradle/test_residual.py::test_a_base_without_effects_*[[]s*",
    "models/cradle/test_residual.py::test_a_base_without_effects_*[[]c[!r]*",
    # The loop itself is held to the same in core/test_train.py.
    "core/test_fit.py::*",
    "models/cycseq/test_model.py::test_doses_change_*",
    "models/test_contract.py::test_eight_devices_*[[]cycseq]",
    "models/test_contract.py::*[[]cpa_vae*",
    "models/test_contract.py::*[[]sams_vae*",
    "models/test_contract.py::*[[]conditional_vae*",
    "models/test_contract.py::*[[]svae_plus*",
    "models/cradle/test_models.py::*[[]cpa_vae*",
    "models/cradle/test_models.py::*[[]sams_vae*",
    "models/cradle/test_models.py::*[[]svae_plus*",
    "models/cradle/test_residual.py::test_generated_cells_*[[]s*",
    "models/cradle/test_effect_deviation.py::*[[]s*",
    "models/cycseq/test_model.py::test_a_new_line_*",
    "models/cycseq/test_model.py::test_validation_*",
    "models/cycseq/test_runs.py::test_tables_and_figures_*",
    "models/gears/test_model.py::test_a_lone_*",
    "models/gears/test_model.py::test_signs_*",
    "models/gears/test_runs.py::test_stored_tables_*",
    "models/gears/test_residual.py::test_an_untrained_*",
    "models/gears/test_residual.py::test_sets_by_name_*",
    "models/scgen/test_model.py::test_a_stratum_*",
    "models/scgen/test_model.py::test_seeds_*",
    "models/set_gp/test_others.py::test_a_run_*",
    "tasks/screen/test_outside.py::test_ways_*",
    "app/test_families.py::test_a_finished_run_*",
    "app/test_families.py::test_a_run_without_its_curves_*",
    "app/test_examples.py::test_examples_run[[]clean_cells]",
    "app/test_examples.py::test_examples_run[[]gears]",
    "app/test_examples.py::test_examples_run[[]load]",
    "app/test_score.py::test_examples_of_the_guide_run*",
    "core/test_train.py::test_vmapped_seeds_*",
    "tasks/screen/test_residual.py::test_own_cells_*[[]set_gp]",
    "tasks/screen/test_predict.py::test_svae_plus_*",
    "parity/cycseq/test_training.py::*[[]train_loop_drop]",
    "data/test_windows.py::*[[]2]",
)


def unmatched(names: list[str]) -> list[str]:
    """Patterns that none of these names fit."""
    return [p for p in PATTERNS if not any(fnmatchcase(name, p) for name in names)]


def is_thorough(name: str) -> bool:
    """Whether a pattern fits the name of a test."""
    return any(fnmatchcase(name, pattern) for pattern in PATTERNS)
