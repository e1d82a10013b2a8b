"""How large a run is: one profile a size, the same for every chapter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """The size of a run.

    Attributes:
        name: as given on the command line and in a notebook's parameters.
        simvp: options of `SimVP` for predicting frames.
        regression_hid_T: the width of the hybrid's translator; its other options are those of `simvp`.
        epochs, batch_size: of the training loop.
        train, val, test: windows at most (None: all there are).
    """

    name: str
    simvp: dict
    regression_hid_T: int
    epochs: int
    batch_size: int
    train: int | None
    val: int | None
    test: int | None


PROFILES = {
    profile.name: profile
    for profile in (
        # For CI: everything runs, nothing is learnt.
        Profile("smoke", dict(hid_S=4, hid_T=16, N_S=2, N_T=2), 16, epochs=2, batch_size=8, train=16, val=8, test=16),
        # For a laptop: narrow, but enough to see which losses find the pixel.
        Profile(
            "quick", dict(hid_S=8, hid_T=32, N_S=4, N_T=2), 32, epochs=10, batch_size=8, train=1000, val=200, test=600
        ),
        # The original experiment exactly.
        Profile(
            "paper", dict(hid_S=64, hid_T=256, N_S=4, N_T=8), 512, epochs=25, batch_size=8, train=500, val=100, test=600
        ),
    )
}


def get_profile(name: str) -> Profile:
    """The profile of that name; ValueError naming the known ones otherwise."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
