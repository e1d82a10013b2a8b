"""The claims of the original loss analysis; each function's docstring is the rule by which its claim is judged."""

from fixlib.chapters.claims import verdicts as v
from fixlib.chapters.claims.verdicts import Evidence, Finding, Record, claim, together
from fixlib.chapters.loss_comparison.tables import constant_of, over_constant
from fixlib.runs.study import Study, difference, mean

DOCUMENT = "Loss analysis"
UNSEEN = "04_loss_comparison#What-a-threshold-of-0.5-does-not-see"
LEARNT, RESULT = "04_loss_comparison#Was-anything-learnt?", "04_loss_comparison#The-result"
SETTINGS, WANTED = "04_loss_comparison#Changing-one-setting", "02_what_each_loss_wants#One-pixel,-one-number"
IMBALANCES = (8, 16, 32)  # grids: 63, 255 and 1,023 black pixels beside a white one
WANTING_WHITE = ("mse", "focal", "composite", "dice", "weighted_mse")  # the best output of the others is black
PIXELWISE = ("mse", "focal", "sparsity", "composite", "weighted_mse")
PARTS = ("focal", "sparsity", "concentration")  # of the composite
BLACK = 1e-3  # frames whose largest p is below the share of white pixels show nothing
ESSENTIAL = 0.05  # of the error of repeating: what changes it by less is not essential


def of_sizes(record: Record) -> list[tuple[Study]]:
    """Every loss at the original size and, where recorded, at its best."""
    return [(study,) for study in record.losses]


def of_settings(record: Record) -> list[tuple[Study]]:
    """One option of a loss changed: where losses are compared by small networks and, where recorded, at their best."""
    return [(record.ablations,), *([(record.options,)] if record.options else [])]


@claim(DOCUMENT, "only 0.1% of pixels are active", "01_sparsity_analysis#One-pixel-in-1,024")
def active(record: Record) -> Finding:
    """Supported if the share of white pixels in a frame that shows gaze rounds to 0.1%."""
    described = record.description.runs[0].payload
    share, of = 100 / described["pixels"], f"OSIE, all {described['statistics']['fixations']:,} fixations"
    verdict = v.SUPPORTED if round(share, 1) == 0.1 else v.REFUTED
    return Finding(verdict, v.counted({"white pixels in a frame that shows gaze (%)": share}, of, ".4f"))


@claim(DOCUMENT, "standard loss functions [cannot] handle extreme sparsity", LEARNT)
def standard_losses(record: Record) -> Finding:
    """Read as: MSE cannot be trained at 1000:1, because of the imbalance. Refuted if MSE beats its best constant.

    Supported if it does so with no seed. The reason is judged where the next pixel can be known. It stands if MSE
    learns there among few black pixels, and does not among 1,023. If it learns among 1,023, too, it is not the reason.
    """
    tries = [study.runs_of("mse") for study in record.losses]
    ratios = [v.over_seeds(map(over_constant, runs)) for runs in tries]
    told, known = "MSE: test loss / best constant's (range of seeds)", {}
    evidence = [Evidence(told, ratio, v.where(runs), ".4f") for ratio, runs in zip(ratios, tries)]
    for grid in IMBALANCES:
        run = record.imbalance.run(f"mse.{grid}px")
        known[grid] = run.payload["stages"]["noise0"]["expected_loss"] / constant_of(run)
        told = f"MSE, known motion, {grid**2 - 1:,} black: loss / constant's"
        evidence += v.counted({told: known[grid]}, v.where([run]))
    if any(ratio["high"] < 1 for ratio in ratios):
        return Finding(v.REFUTED, evidence)
    if any(ratio["low"] < 1 for ratio in ratios):
        return Finding(v.UNDECIDED, evidence, "more seeds of MSE: some learn, others do not")
    if known[IMBALANCES[0]] >= 1:
        return Finding(v.UNDECIDED, evidence, "motion that MSE learns among few black pixels")
    return Finding(v.SUPPORTED if known[IMBALANCES[-1]] >= 1 else v.OTHER_REASON, evidence)


@claim(DOCUMENT, "Hard examples (misclassified) are more informative", SETTINGS, of_settings)
def hard_examples(study: Study) -> Finding:
    """Supported if focal loss predicts better with gamma 2 than with gamma 0, which singles out no hard examples."""
    return v.compared(study, "focal", ["focal_gamma_0"], "focal with gamma 0 that beats a constant")


@claim(DOCUMENT, "Natural sparsity in predictions improves generalization", RESULT, of_sizes)
def sparsity(study: Study) -> Finding:
    """Supported if MSE with the L1 penalty predicts other people's gaze better than MSE alone."""
    return v.compared(study, "sparsity", ["mse"], "MSE and sparsity that beat a constant")


@claim(DOCUMENT, "Predictions should be spatially concentrated [p as it is]", WANTED)
def concentration(record: Record) -> Finding:
    """Ill-posed if black frames meet it, which are concentrated nowhere; else supported if better than weighted MSE."""
    tries = [study.runs_of("concentration") for study in record.losses]
    told, metric = "largest p in a frame", "max_probability"
    brightest = [Evidence(told, mean(runs, metric), v.where(runs), ".1g") for runs in tries]
    if max(one.number["high"] for one in brightest) < BLACK:
        return Finding(v.ILL_POSED, brightest)
    missing = "concentration that beats a constant"
    return together([v.compared(study, "concentration", ["weighted_mse"], missing) for study in record.losses])


@claim(DOCUMENT, "Predictions should be spatially concentrated [p normalized]", SETTINGS)
def concentration_of_density(record: Record) -> Finding:
    """Supported if a density trained to be concentrated predicts better than one trained to be honest (softmax)."""
    if not record.density:
        return Finding(v.UNDECIDED, [], "the second reading's runs (experiment confounds)")
    names = ("density.concentration", "softmax_cross_entropy", "centre")
    ours, honest, centre = map(record.density.runs_of, names)
    evidence, verdict = v.better(ours, honest)
    no_constant = v.below(difference(ours, centre, "error_median")) == v.SUPPORTED  # that of this loss is the centre
    if no_constant and v.learnt(record.density, names[1]):
        return Finding(verdict, [evidence], "bits of both on the same windows, or more seeds")
    return Finding(v.UNDECIDED, [evidence], "a network of that loss that beats the centre")


@claim(DOCUMENT, "Different loss components address different failure modes", SETTINGS, of_settings)
def components(study: Study) -> Finding:
    """Supported if the composite (with concentration of p as it is) loses by leaving out each of its parts, refuted if
    it gains by leaving out one.
    """
    without = [f"composite_{part}_0" for part in PARTS]
    return v.compared(study, "composite", without, "composites without a part that all beat a constant")


@claim(DOCUMENT, "concentration_weight=1.5 (from empirical results)", SETTINGS, of_settings)
def weights(study: Study) -> Finding:
    """Supported if the composite (with concentration of p as it is) is better than with any one weight set to 0 or
    changed tenfold, refuted if worse than with one.
    """
    changed = [name for name in study.variants() if name.startswith(tuple(f"composite_{part}_" for part in PARTS))]
    return v.compared(study, "composite", changed, "composites of other weights that all beat a constant")


@claim(DOCUMENT, "Overlap-based metrics better capture sparse region matching", RESULT, of_sizes)
def overlap(study: Study) -> Finding:
    """Supported if Dice predicts better than every loss of single pixels that has learnt, refuted if worse than one."""
    return v.compared(study, "dice", [name for name in v.learning(study) if name in PIXELWISE], "more seeds")


@claim(DOCUMENT, "Higher penalty on missing positive pixels improves recall", SETTINGS)
def penalty(record: Record) -> Finding:
    """Supported if recall at 0.5 is higher with a larger weight; but not for the reason given if the brightest pixel is
    no closer: then more pixels pass 0.5, and no more is found.
    """
    names = ("weighted_mse_1023", "weighted_mse_10")
    heavy, light = map(record.ablations.runs_of, names)
    recall, closer = (difference(heavy, light, metric) for metric in ("white_pixel_recall", "error_argmax"))
    at = v.where(heavy)
    evidence = [
        Evidence("recall at 0.5: weight 1,023 minus weight 10", recall, at, "+.2f"),
        Evidence("px, brightest pixel: weight 1,023 minus weight 10", closer, at, "+.2f"),
        Evidence("precision at 0.5, weight 10", mean(light, "white_pixel_precision"), at, ".3f"),
        Evidence("precision at 0.5, weight 1,023", mean(heavy, "white_pixel_precision"), at, ".3f"),
    ]
    verdict = v.above(recall) if v.learnt(record.ablations, *names) else v.UNDECIDED
    if verdict == v.SUPPORTED and v.below(closer) != v.SUPPORTED:
        verdict = v.OTHER_REASON
    return Finding(verdict, evidence, "more seeds, or networks that learn")


@claim(
    DOCUMENT,
    "[One pixel] captures essential spatial information",
    "06_hybrid_regression#What-is-to-blame?-One-change-at-a-time",
    lambda record: [(record.hybrid, framing) for framing in ("fixations", "10hz")],
    opposed=v.ILL_POSED,
)
def single_pixel(study: Study, framing: str) -> Finding:
    """Supported if repeating the recorded point, not its pixel, lowers the error by under 5%, refuted if by more.

    Ill-posed if that depends on the frame rate.
    """
    pixel, point = (study.runs_of(f"{name}.{framing}") for name in ("repeat_last", "repeat_last_subpixel"))
    lost, whole = difference(pixel, point, "error"), mean(pixel, "error")["value"]
    evidence = [Evidence("px: repeating the pixel minus repeating the point", lost, v.where(pixel), "+.2f")]
    return Finding(v.below(lost, ESSENTIAL * whole), evidence)


@claim(
    DOCUMENT,
    "SimVP [...] suitable for sparse temporal pattern learning",
    RESULT,
    lambda record: [(study, record.sequence) for study in record.losses],
)
def simvp(study: Study, sequence: Study | None) -> Finding:
    """Supported if the best SimVP predicts gaze better than the return table and, if it has seen as many windows, the
    sequence model, which take a minute; refuted if worse than one of them.
    """
    rivals = [study.runs_of("return_table")]
    if sequence and study.runs[0].spec.config.data.train is None:
        rivals.append(sequence.runs_of("gru.10to10"))
    judged = [v.better(study.runs_of(_best(study)), rival) for rival in rivals]
    verdict = v.all_of(verdict for _, verdict in judged)
    missing = "SimVP on all windows (tuned), beside the sequence model"
    return Finding(verdict, [evidence for evidence, _ in judged], missing)


@claim(DOCUMENT, "Standard deep learning training procedures apply", LEARNT)
def training(record: Record) -> Finding:
    """Of the losses that ask for a white pixel (MSE, focal, composite, Dice, weighted MSE), at the original settings:
    supported if every seed of each beats the best constant, refuted if one loss does so with no seed.
    """
    study = record.losses[0]
    beats = {name: [over_constant(run) < 1 for run in study.runs_of(name)] for name in WANTING_WHITE}
    whole, failed = sum(map(all, beats.values())), [name for name in beats if not any(beats[name])]
    verdict = v.REFUTED if failed else v.SUPPORTED if whole == len(beats) else v.UNDECIDED
    told = {f"of {len(beats)} losses, those that learn with every seed": whole}
    evidence = v.counted(told, v.where(study.runs_of("mse")), ".0f")
    for variant, words in {"focal": "as usual", "focal_prior": "with prior bias"}.items():
        ratio = over_constant(record.ablations.run(variant))
        at = v.where(record.ablations.runs_of(variant))
        evidence += v.counted({f"focal {words}: test loss / best constant's": ratio}, at)
    return Finding(verdict, evidence, "more seeds")


@claim(DOCUMENT, "Tracks best validation loss for model selection", LEARNT, of_sizes)
def selection(study: Study) -> Finding:
    """Supported if selection rescues networks and misleads none, refuted if it only misleads.

    A network is rescued if the validation loss of its last epoch is above the best constant's, and the test loss of the
    epoch that was kept is below it. It is misled if the kept epoch's validation loss is below the best constant's, and
    its test loss above.
    """
    runs = [run for run in study.runs if run.history]
    losses = [([epoch["val_loss"] for epoch in run.history], run.payload["test_loss"]) for run in runs]
    constants = [constant_of(run) for run in runs]
    rescued = sum(validation[-1] > constant > test for (validation, test), constant in zip(losses, constants))
    misled = sum(min(validation) < constant < test for (validation, test), constant in zip(losses, constants))
    verdict = v.UNDECIDED if bool(rescued) == bool(misled) else v.SUPPORTED if rescued else v.REFUTED
    told = {f"of {len(runs)} networks, rescued": rescued, f"of {len(runs)} networks, misled": misled}
    at = v.where(study.runs_of("mse"))
    return Finding(verdict, v.counted(told, at, ".0f"), "test scores of each network's last epoch")


@claim(DOCUMENT, "Binary classification metrics meaningful", UNSEEN, of_sizes)
def threshold(study: Study) -> Finding:
    """Of the networks that have learnt: supported if the one of the highest recall at 0.5 is also the best one, refuted
    if it predicts worse than that.
    """
    recall = {name: mean(study.runs_of(name), "white_pixel_recall") for name in v.learning(study)}
    first, best = max(recall, key=lambda name: recall[name]["value"]), _best(study)
    evidence, verdict = v.better(study.runs_of(first), study.runs_of(best))
    names = {name: f"recall at 0.5: {v.named(study.runs_of(name))}" for name in (first, best)}
    both = [Evidence(told, recall[name], evidence.where) for name, told in names.items()]
    return Finding(v.SUPPORTED, both[:1]) if first == best else Finding(verdict, [evidence, *both], "more seeds")


def _best(study: Study) -> str:
    """The frame network that has learnt and has the most bits, if all have bits with every seed; else least px."""
    runs = {name: study.runs_of(name) for name in v.learning(study)}
    if all("bits" in run.per_window for each in runs.values() for run in each):
        return max(runs, key=lambda name: mean(runs[name], "bits")["value"])
    return min(runs, key=lambda name: mean(runs[name], "error_median")["value"])
