"""Chapter 8's verdicts, on made-up runs: the rule of every claim can say more than one thing."""

import re
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest

from fixlib.book import chapter_paths
from fixlib.chapters.claims import tables, verdicts
from fixlib.chapters.claims.loss_analysis import IMBALANCES
from fixlib.chapters.claims.verdicts import CLAIMS, ILL_POSED, OTHER_REASON, REFUTED, SUPPORTED, UNDECIDED, Finding
from fixlib.chapters.loss_ablations.runs import SETTINGS
from fixlib.chapters.loss_comparison import tables as loss_comparison
from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec, Training
from fixlib.runs.store import Run
from fixlib.runs.study import Study

SUBJECT, STIMULUS = np.repeat([0, 1, 2, 3], 6), np.tile(np.arange(6), 4)
DESCRIBED = dict(pixels=1024, statistics=dict(fixations=98321), rates=[])
DESCRIBED["rates"] = [dict(rate_hz=rate, repeat_last_error=32 / rate) for rate in (2.0, 8.0, 32.0)]
COSTS = dict(
    hybrid=dict(parameters=41.7e6, head=1.7e6, memory=900, operations=5e9),
    one_frame=dict(memory=950, operations=6e9),
    frames=dict(dec=4e5, memory=1000),
)


def make(
    variant, model="simvp", loss=None, rate=10.0, seed=0, train=None, over=0.5, bits=None, history=(0.7, 0.5, 0.6), **px
):
    """A run whose metrics are `px` in every window; its test loss is `over` times that of the best constant."""
    loss = loss or Loss("mse")
    trained = model in ("simvp", "regression")
    px = (dict(error_median=8.0, error_argmax=8.0, white_pixel_recall=0.0) if model == "simvp" else {}) | px
    px |= {} if bits is None else dict(bits=bits)
    other = dict(max_probability=0.5, white_pixel_precision=0.1, error_mean=9.0)
    metrics = {name: dict(value=value, low=value, high=value) for name, value in (other | px).items()}
    windows = {name: np.full(len(SUBJECT), value) for name, value in px.items()}
    windows |= dict(subject=SUBJECT, stimulus=STIMULUS, frames=np.ones(len(SUBJECT)), amplitude=np.zeros(len(SUBJECT)))
    config = Config(Data("osie", rate, train=train), Model(model), loss, Training(3 if trained else 0))
    spec = RunSpec("made_up", "osie", variant, "quick", seed, config, "0" * 16)
    payload = dict(metrics=metrics, per_window=windows, data_label="OSIE (made up)", simulated=True)
    payload["content_sha256"] = dict(test="same")
    run = Run(spec, Path(spec.filename), payload)
    if trained:
        payload["history"] = [dict(train_loss=1.0, val_loss=value) for value in history]
    if model == "simvp":
        payload["test_loss"] = over
    return run


@pytest.fixture(autouse=True)
def best_constants_cost_1(monkeypatch):
    monkeypatch.setattr(loss_comparison, "_constant_loss", lambda *_, **__: 1.0)


def study(*runs):
    return Study("osie", "osie", runs)


def losses(seeds=(0, 1), **changes):
    """Every loss at one size, with changes to what `make` is told: loss -> keywords, or one per seed."""
    networks = {name: Loss(name, options) for name, options in LOSSES.items()} | FURTHER_LOSSES
    told = {name: changes.get(name, {}) for name in networks}
    runs = [
        make(name, loss=loss, seed=seed, **(told[name][seed] if isinstance(told[name], list) else told[name]))
        for name, loss in networks.items()
        for seed in seeds
    ]
    return study(*runs, make("return_table", "return_table", error_median=8.0, **changes.get("return_table", {})))


def ablations(**changes):
    settings = {name: Loss(loss, LOSSES.get(loss, {}) | options) for name, (loss, options) in SETTINGS.items()}
    settings["focal_prior"] = settings["focal"]
    return study(*(make(name, loss=loss, **changes.get(name, {})) for name, loss in settings.items()))


def imbalance(*over):
    """MSE where motion can be known, on growing grids: what its loss is over that of the best constant."""
    runs = [make(f"mse.{grid}px") for grid in IMBALANCES]
    for run, ratio in zip(runs, over):
        run.payload["stages"] = dict(noise0=dict(expected_loss=ratio))
    return study(*runs)


def points(hybrid=(4.0, 4.0), mse=(5.0, 5.0), frames=(), seeds=(0, 1), **changes):
    """The hybrid, its baselines, and frames with these losses, at both framings; errors of the framings in px."""
    runs = []
    for number, (framing, rate) in enumerate({"fixations": None, "10hz": 10.0}.items()):
        errors = dict(hybrid_l1=hybrid[number], hybrid_mse=mse[number])
        for name, error in errors.items():
            loss = Loss("l2" if name == "hybrid_mse" else "l1")
            told = dict(history=changes["history"]) if "history" in changes else {}
            shifts = [changes.get("spread", 0.0) * seed for seed in seeds]
            runs += [
                make(f"{name}.{framing}", "regression", loss, rate, seed, error=error + shift, **told)
                for seed, shift in zip(seeds, shifts)
            ]
        idle = dict(repeat_last=3.0, repeat_last_subpixel=2.99, training_median=9.0) | changes.get("idle", {})
        runs += [make(f"{name}.{framing}", name, Loss(), rate, error=error) for name, error in idle.items()]
        for loss, error in frames:
            shift = changes.get("frames_spread", 0.0)
            runs += [
                make(f"frames_{loss}.{framing}", "simvp", Loss(loss), rate, seed, error_argmax=error + shift * seed)
                for seed in seeds
            ]
    return study(*runs)


def control(mean=5.0):
    names = ("optimum_density.fixations", "optimum_density.10hz")
    return study(*(make(name, "optimum", Loss("density"), error_mean=mean, error_median=4.0) for name in names))


def description(**changes):
    run = make("description", "description")
    return study(replace(run, payload=run.payload | DESCRIBED | changes))


def record(**changes):
    usual = dict(losses=[losses()], ablations=ablations(), control=control(), imbalance=imbalance(0.5, 0.5, 0.5))
    usual |= dict(hybrid=points(), small=points(), films=points(), description=description(), density=None)
    return verdicts.Record(**usual | dict(sequence=None, options=None, costs=COSTS) | changes)


def sizes(**changes):
    return dict(losses=[losses(**changes)])


def cost(part, **changes):
    return dict(costs=COSTS | {part: COSTS[part] | changes})


def second_reading(px, centre=9.0):
    ours = make("density.concentration", loss=Loss("concentration", dict(density=True)), error_median=px)
    honest = make("softmax_cross_entropy", loss=Loss("softmax_cross_entropy"), error_median=8.0)
    return dict(density=study(ours, honest, make("centre", "centre", error_median=centre)))


FOCAL_0, FAILED, BETTER = "composite_focal_0", dict(over=1.5), dict(error_median=7.0)
SEQUENCE = dict(sequence=study(make("gru.10to10", error_median=6.0)))
SPREAD = dict(frames=[("composite", 5.0)], seeds=(0, 1, 2))
RULES = [
    ("active", {}, SUPPORTED),
    ("active", dict(description=description(pixels=64)), REFUTED),
    ("standard_losses", {}, REFUTED),
    ("standard_losses", sizes(mse=FAILED), OTHER_REASON),
    ("standard_losses", sizes(mse=FAILED) | dict(imbalance=imbalance(0.5, 0.9, 1.1)), SUPPORTED),
    ("standard_losses", sizes(mse=FAILED) | dict(imbalance=imbalance(1.1, 1.1, 1.1)), UNDECIDED),
    ("standard_losses", sizes(mse=[FAILED, {}]), UNDECIDED),
    ("standard_losses", dict(losses=[losses(mse=FAILED), losses()]), REFUTED),
    ("hard_examples", dict(ablations=ablations(focal=dict(error_median=7.0))), SUPPORTED),
    ("hard_examples", dict(ablations=ablations(focal=dict(error_median=9.0))), REFUTED),
    ("hard_examples", dict(ablations=ablations(focal=dict(error_median=7.0, **FAILED))), UNDECIDED),
    ("hard_examples", {}, UNDECIDED),
    ("sparsity", sizes(sparsity=dict(error_median=7.0)), SUPPORTED),
    ("sparsity", sizes(sparsity=dict(error_median=9.0)), REFUTED),
    ("sparsity", sizes(sparsity=dict(error_median=9.0), mse=FAILED), UNDECIDED),
    ("sparsity", sizes(sparsity=dict(error_median=9.0, bits=2.0), mse=dict(bits=1.0)), SUPPORTED),
    ("sparsity", dict(losses=[losses(sparsity=dict(error_median=e)) for e in (7.0, 9.0)]), UNDECIDED),
    ("sparsity", dict(losses=[losses(mse=FAILED), losses(sparsity=dict(error_median=9.0))]), REFUTED),
    ("concentration", sizes(concentration=dict(max_probability=1e-6)), ILL_POSED),
    ("concentration", sizes(concentration=dict(error_median=7.0)), SUPPORTED),
    ("concentration", sizes(concentration=dict(error_median=7.0, over=1e6)), UNDECIDED),
    ("concentration_of_density", {}, UNDECIDED),
    ("concentration_of_density", second_reading(7.0), SUPPORTED),
    ("concentration_of_density", second_reading(8.5), REFUTED),
    ("concentration_of_density", second_reading(8.5, centre=8.0), UNDECIDED),
    ("components", dict(ablations=ablations(composite=dict(error_median=7.0))), SUPPORTED),
    ("components", dict(ablations=ablations(**{FOCAL_0: dict(error_median=7.0)})), REFUTED),
    ("components", dict(ablations=ablations(composite=FAILED)), UNDECIDED),
    ("components", dict(ablations=ablations(composite=FAILED), options=ablations(**{FOCAL_0: BETTER})), REFUTED),
    ("components", dict(ablations=ablations(**{FOCAL_0: BETTER | FAILED}, composite_sparsity_0=BETTER)), REFUTED),
    ("components", dict(ablations=ablations(**{FOCAL_0: FAILED}, composite=dict(error_median=7.0))), UNDECIDED),
    ("weights", dict(ablations=ablations(composite=dict(error_median=7.0))), SUPPORTED),
    ("weights", dict(ablations=ablations(composite_focal_10=dict(error_median=7.0))), REFUTED),
    ("overlap", sizes(dice=dict(error_median=7.0)), SUPPORTED),
    ("overlap", sizes(focal=dict(error_median=7.0)), REFUTED),
    ("overlap", sizes(focal=dict(error_median=7.0, **FAILED)), UNDECIDED),
    ("overlap", sizes(dice=dict(error_median=7.0, **FAILED)), UNDECIDED),
    ("penalty", dict(ablations=ablations(weighted_mse_1023=dict(white_pixel_recall=0.5))), OTHER_REASON),
    ("penalty", dict(ablations=ablations(weighted_mse_1023=dict(white_pixel_recall=0.5, error_argmax=7.0))), SUPPORTED),
    ("penalty", dict(ablations=ablations(weighted_mse_10=dict(white_pixel_recall=0.5))), REFUTED),
    ("penalty", {}, UNDECIDED),
    ("single_pixel", {}, SUPPORTED),
    ("single_pixel", dict(hybrid=points(idle=dict(repeat_last_subpixel=2.0))), REFUTED),
    ("simvp", sizes(dice=dict(error_median=7.0)), SUPPORTED),
    (
        "simvp",
        sizes(return_table=dict(bits=2.0), **{name: dict(bits=1.0) for name in LOSSES | FURTHER_LOSSES}),
        REFUTED,
    ),
    ("simvp", {}, UNDECIDED),
    ("simvp", sizes(dice=dict(error_median=7.0)) | SEQUENCE, REFUTED),
    ("simvp", sizes(dice=dict(error_median=7.0), mse=dict(train=500)) | SEQUENCE, SUPPORTED),
    ("training", {}, SUPPORTED),
    ("training", sizes(mse=FAILED), REFUTED),
    ("training", sizes(mse=[FAILED, {}]), UNDECIDED),
    ("training", sizes(concentration=FAILED), SUPPORTED),
    ("selection", {}, UNDECIDED),
    ("selection", sizes(mse=dict(history=(0.5, 2.0))), SUPPORTED),
    ("selection", sizes(mse=dict(over=1.5)), REFUTED),
    ("threshold", sizes(dice=dict(white_pixel_recall=0.5), mse=dict(error_median=7.0)), REFUTED),
    ("threshold", sizes(dice=dict(white_pixel_recall=0.5)), UNDECIDED),
    ("threshold", sizes(dice=dict(white_pixel_recall=0.5, error_median=7.0)), SUPPORTED),
    ("reported_error", {}, SUPPORTED),
    ("reported_error", dict(hybrid=points((7.0, 4.0))), ILL_POSED),
    ("reported_error", dict(hybrid=points((9.5, 9.5)), films=points((9.5, 9.5))), UNDECIDED),
    ("hoped_error", {}, REFUTED),
    ("hoped_error", dict(films=points((2.0, 2.0))), ILL_POSED),
    ("parameters", {}, SUPPORTED),
    ("parameters", cost("hybrid", head=2.2e6), REFUTED),
    ("argmax", {}, REFUTED),
    ("argmax", dict(hybrid=points(idle=dict(repeat_last=0.0))), SUPPORTED),
    ("single_pass", {}, OTHER_REASON),
    ("single_pass", cost("hybrid", operations=7e9), REFUTED),
    ("memory", {}, SUPPORTED),
    ("memory", cost("hybrid", memory=960), REFUTED),
    ("accuracy", {}, UNDECIDED),
    ("accuracy", dict(hybrid=points(frames=[("composite", 5.0), ("dice", 4.5)])), SUPPORTED),
    ("accuracy", dict(hybrid=points(frames=[("composite", 5.0), ("dice", 3.5)])), OTHER_REASON),
    ("accuracy", dict(hybrid=points(frames=[("composite", 3.0), ("dice", 3.5)])), REFUTED),
    ("accuracy", dict(hybrid=points((3.0, 5.0), frames=[("composite", 4.0)])), UNDECIDED),
    ("accuracy", dict(hybrid=points((9.5, 9.5), frames=[("composite", 3.0)])), UNDECIDED),
    ("faster", {}, UNDECIDED),
    ("faster", dict(hybrid=points(frames=[("composite", 3.0)], history=(1.0, 2.0))), REFUTED),
    ("faster", dict(hybrid=points(frames=[("composite", 4.0)], history=(1.0, 2.0))), SUPPORTED),
    ("faster", dict(hybrid=points(frames=[("composite", 4.0)], history=(1.0, 2.0), seeds=(0,))), UNDECIDED),
    ("stable", {}, UNDECIDED),
    ("stable", dict(hybrid=points(**SPREAD, spread=0.01, frames_spread=1.0)), SUPPORTED),
    ("stable", dict(hybrid=points(**SPREAD, spread=1.0, frames_spread=0.01)), REFUTED),
    ("stable", dict(hybrid=points(**SPREAD, spread=0.5, frames_spread=1.0)), UNDECIDED),
    ("robust", {}, OTHER_REASON),
    ("robust", dict(control=control(mean=4.0)), SUPPORTED),
    ("robust", dict(small=points(mse=(3.0, 3.0)), hybrid=points(mse=(3.0, 3.0))), REFUTED),
    ("robust", dict(hybrid=points(mse=(9.5, 9.5))), UNDECIDED),
]


@pytest.mark.parametrize("name, changes, verdict", RULES)
def test_a_claim_is_judged_by_its_rule(name, changes, verdict):
    finding = CLAIMS[name].judge(record(**changes))
    assert finding.verdict == verdict
    assert bool(finding.missing) >= (verdict == UNDECIDED), "an undecided claim says what is missing"


def test_every_rule_is_tried_with_two_verdicts_at_least():
    tried = {name: {verdict for each, _, verdict in RULES if each == name} for name in CLAIMS}
    assert {name for name, given in tried.items() if len(given) < 2} == set()


def test_sizes_that_contradict_each_other_decide_nothing_and_one_that_says_nothing_leaves_it_to_the_other():
    yes, no, open_ = Finding(SUPPORTED, []), Finding(REFUTED, []), Finding(UNDECIDED, [], "more seeds")
    assert verdicts.together([yes, open_]) == Finding(SUPPORTED, [])
    assert verdicts.together([yes, no]).verdict == UNDECIDED and "contradict" in verdicts.together([yes, no]).missing
    assert verdicts.together([yes, no], ILL_POSED) == Finding(ILL_POSED, [])
    assert verdicts.together([open_, open_]) == open_


def test_an_interval_that_holds_the_line_decides_nothing():
    found = dict(value=1.0, low=-0.5, high=2.5)
    assert [verdicts.below(found, line) for line in (3.0, 0.0, -1.0)] == [SUPPORTED, UNDECIDED, REFUTED]
    assert [verdicts.above(found, line) for line in (3.0, 0.0, -1.0)] == [REFUTED, UNDECIDED, SUPPORTED]


def test_tables_show_every_claim_once_in_its_color_with_a_link():
    findings = tables.judged(record())
    shown = [tables.verdicts(findings, document).html for document in tables.DOCUMENTS]
    assert sum(html.count('<a href="') for html in shown) == len(CLAIMS) == 25
    assert all(sum(tables.COLORED[finding.verdict] in html for html in shown) for finding in findings.values())
    assert tables.counts(findings).text.split()[-1] == str(
        sum(finding.verdict == UNDECIDED for finding in findings.values())
    )
    undecided = [finding for finding in findings.values() if finding.verdict == UNDECIDED]
    assert tables.missing(findings).html.count("<tr>") == 1 + len(undecided)
    assert tables.rules(findings).count("\n- ") == len(CLAIMS) - 1


@pytest.mark.parametrize("shown", sorted({claim.shown for claim in CLAIMS.values()}))
def test_links_lead_to_chapters_and_sections_that_there_are(shown):
    name, _, section = shown.partition("#")
    (path,) = chapter_paths([name])
    headings = re.findall(r"^#+ (.*)$", "\n".join(cell.source for cell in nbformat.read(path, 4).cells), re.MULTILINE)
    assert not section or section in [heading.replace(" ", "-") for heading in headings]
