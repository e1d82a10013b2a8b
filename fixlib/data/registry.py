"""What is downloaded, from where, and what it must be: every file with its sha256.

In the package, not beside it, so that an installed copy has it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from fixlib.data.scanpaths import Source


@dataclass(frozen=True)
class Download:
    """A file of recordings.

    Attributes:
        what: whose recordings, for messages.
        url: where it is published; None where no address has this very file.
        sha256: what it must be.
        n_recordings, recordings: how many it holds, and what they are called in messages.
        path: its place in a mirror (``MIRROR/<path>``), ``dataset/name``.
        how_to_get: what to do without a mirror, for messages.
    """

    what: str
    url: str | None
    sha256: str
    n_recordings: int
    recordings: str
    path: str
    how_to_get: str


OSIE_FILE = Download(
    what="OSIE",
    url="https://raw.githubusercontent.com/NUS-VIP/predicting-human-gaze-beyond-pixels/"
    "4a467890fcb40a2fec04cdded552760942bac7a4/data/eye/fixations.mat",
    sha256="2aab9133a407e4eff3f57ab5799872b162dbc77ca462c0391762eb5e67deadb9",
    n_recordings=10_500,
    recordings="scanpaths",
    path="osie/fixations.mat",
    how_to_get="connect to the internet",
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

# The 844 files of GazeCom's natural films, packed for a mirror: the packing has no address of its own. They are those
# of a third party's copy, see data/README.md.
GAZECOM_FILE = Download(
    what="GazeCom",
    url=None,
    sha256="f764f8a45098dd18c202122be8f72b5dc65390b6e06b26d336ad9a9b62b36458",
    n_recordings=844,
    recordings=".coord files",
    path="gazecom/natural_movies_gaze.tar.xz",
    how_to_get="get the folder gaze/natural_movies_gaze of https://github.com/katherinelamb/eye-movement-prediction "
    "and run `fixlib data prepare gazecom FOLDER`",
)

GAZECOM_SOURCE = Source(
    name="gazecom",
    label="GazeCom (recorded gaze)",
    # Of the list "sha256  ./name" of the .coord files by name, so that it is the same however they are packed.
    sha256="c6a0fa2dc7ed94c95b2eab100edcf160ed202c69e6e19fb929144b52116a919d",
    licence='none stated; the authors ask: "Please cite the above paper if you use our data set in your own '
    'publications."',
    citation="Dorr M., Martinetz T., Gegenfurtner K. R., Barth E. (2010). Variability of eye movements when "
    "viewing dynamic natural scenes. Journal of Vision 10(10):28. https://doi.org/10.1167/10.10.28",
    simulated=False,
)
