"""What is downloaded, from where, and what it must be: every file with its sha256.

In the package, not beside it, so that an installed copy has it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from fixlib.data.scanpaths import Source


@dataclass(frozen=True)
class Download:
    """A published file: its address, its sha256 and size, and its place in a mirror (``MIRROR/<path>``)."""

    url: str
    sha256: str
    n_bytes: int
    path: str


OSIE_FILE = Download(
    url="https://raw.githubusercontent.com/NUS-VIP/predicting-human-gaze-beyond-pixels/"
        "4a467890fcb40a2fec04cdded552760942bac7a4/data/eye/fixations.mat",
    sha256="2aab9133a407e4eff3f57ab5799872b162dbc77ca462c0391762eb5e67deadb9",
    n_bytes=1_077_850,
    path="osie/fixations.mat",
)

OSIE_SOURCE = Source(
    name="osie",
    label="OSIE (recorded gaze)",
    sha256=OSIE_FILE.sha256,
    licence="MIT, Copyright (c) 2014 NUS VIP - Visual Information Processing Lab",
    citation="Xu J., Jiang M., Wang S., Kankanhalli M. S., Zhao Q. (2014). Predicting human gaze beyond "
             "pixels. Journal of Vision 14(1):28. https://doi.org/10.1167/14.1.28",
    simulated=False,
)
