"""Readers of eye trackers' exports: an ordered list of formats, each told by its content."""

from fixlib.data.readers import eyelink, others  # they register their formats
from fixlib.data.readers.files import File, collect
from fixlib.data.readers.formats import FORMATS, PICTURE, TIMES, UNITS, Table, TableFormat

FORMATS["table"] = FORMATS.pop("table")  # the general one is asked last
