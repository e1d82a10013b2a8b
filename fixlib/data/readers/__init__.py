"""Readers of eye trackers' exports, told by content: each gives None for a file that is not its own."""

from fixlib.data.readers.eyelink import eyelink_asc, eyelink_edf
from fixlib.data.readers.files import File, collect
from fixlib.data.readers.formats import PICTURE, TIMES, UNITS, Table, column_and_unit, read_table, refuse
from fixlib.data.readers.others import bids, fixatons, jspsych, smi_events

# The general one is asked last.
READERS = (eyelink_edf, refuse, eyelink_asc, smi_events, jspsych, bids, fixatons, read_table)
