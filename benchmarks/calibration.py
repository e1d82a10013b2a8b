"""How many bits calibration keeps from a map by mixing in no more than a small share of the centre bias.

Chapter 4's networks of the size `tuned` (first seed, weights in build/weights), as recorded and with shares of up to 1.
"""

from collections.abc import Iterator
from typing import Any

from fixlib.chapters.loss_comparison import tables
from fixlib.metrics import Calibration, Truth, evaluate_density
from fixlib.metrics.calibration import SHARES
from fixlib.runs.execute import center_bias, load_network, load_windows, loader, log_weights, loss_of
from fixlib.training import predict

WIDER = (*SHARES, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict[str, Any]]:
    for loss, (first, *_) in list(tables.tuned(dataset).items())[: 2 if quick else None]:
        config, windows, network = first.spec.config, load_windows(first.spec.config.data), load_network(first)
        truth = {part: Truth.of(windows[part], config.data.n_in) for part in ("val", "test")}
        outputs = {part: predict(network, loader(network, config, windows[part])) for part in truth}
        maps = {part: log_weights(loss_of(config), logits) for part, logits in outputs.items()}
        row: dict[str, Any] = dict(loss=loss)
        prior = center_bias(config.data, windows)
        for name, shares in (("up to 0.3", SHARES), ("up to 1", WIDER)):
            found = Calibration(maps["val"], truth["val"], prior, shares)
            scored = evaluate_density(found.log_density(maps["test"]), truth["test"], n_boot=2)
            row |= {f"share, {name}": found.share, f"bits, {name}": scored.summary["bits"]["value"]}
        yield row
