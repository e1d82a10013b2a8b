"""What can go wrong with data, told apart so that callers can react."""


class DataUnavailable(RuntimeError):
    """Recordings could be had from nowhere: no local copy, no mirror, no download."""


class DataFileError(ValueError):
    """A data file exists but does not hold what it must; the message names the file and what is wrong."""


class ChecksumError(DataFileError):
    """A file is not the published one: its sha256 differs. Never a reason to go on with other data."""
