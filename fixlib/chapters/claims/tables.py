"""The verdicts as the book shows them: one table per document, how often each was given, and what is missing."""

import math
from collections.abc import Iterable

import pandas as pd

from fixlib.chapters.claims import hybrid, loss_analysis
from fixlib.chapters.claims.verdicts import CLAIMS, UNDECIDED, VERDICTS, Evidence, Finding, Record
from fixlib.plots import BLUE, Table, table

DOCUMENTS = (loss_analysis.DOCUMENT, hybrid.DOCUMENT)
COLORS = ("#00704F", BLUE, "#B04000", "#882255", "#666666")
COLORED = {verdict: f'<b style="color: {color}">{verdict}</b>' for verdict, color in zip(VERDICTS, COLORS)}


def judged(record: Record) -> dict[str, Finding]:
    """Every claim's name -> its verdict and numbers, in the order of the documents."""
    names = sorted(CLAIMS, key=lambda name: DOCUMENTS.index(CLAIMS[name].document))
    return {name: CLAIMS[name].judge(record) for name in names}


def verdicts(findings: dict[str, Finding], document: str) -> Table:
    """The claims of a document: original words, verdict, and a row for each number behind it."""
    rows, words = [], []
    for name, finding in findings.items():
        claim = CLAIMS[name]
        if claim.document == document:
            for k, one in enumerate(finding.evidence or [None]):
                words.append("" if k else claim.wording)
                verdict, chapter = ("", "") if k else (finding.verdict, _chapter(claim.shown))
                rows.append({"verdict": verdict, "shown in": chapter} | _written(one))
    frame = pd.DataFrame(rows, pd.Index(words, name="claim, in the words of the document"))
    columns = ["verdict", "measured", "value", "95% interval", "data, task, size", "shown in"]
    links = {_chapter(claim.shown): _link(claim.shown) for claim in CLAIMS.values()}
    return table(frame[columns], shown=COLORED | links)


def counts(findings: dict[str, Finding]) -> Table:
    """How often each verdict was given, by document."""
    given = pd.DataFrame([(CLAIMS[name].document, finding.verdict) for name, finding in findings.items()])
    frame = pd.crosstab(given[1], given[0]).reindex(index=VERDICTS, columns=DOCUMENTS, fill_value=0)
    return table(frame.assign(both=frame.sum(axis=1)).rename_axis("verdict"), shown=COLORED)


def missing(findings: dict[str, Finding]) -> Table:
    """The undecided claims, and what would have to be recorded to decide each."""
    undecided = {name: finding for name, finding in findings.items() if finding.verdict == UNDECIDED}
    words = pd.Index([CLAIMS[name].wording for name in undecided], name="undecided")
    return table(pd.DataFrame({"what is missing": [finding.missing for finding in undecided.values()]}, words))


def rules(names: Iterable[str]) -> str:
    """How each claim is judged, as a list in Markdown."""
    told = ((CLAIMS[name].wording, " ".join((CLAIMS[name].judge.__doc__ or "").split())) for name in names)
    return "\n".join(f"- *{wording}* {rule}" for wording, rule in told)


def _written(one: Evidence | None) -> dict[str, str]:
    if one is None:
        return {"measured": "", "value": "", "95% interval": "", "data, task, size": ""}
    value, low, high = (f"{one.number[end]:{one.digits}}".replace("-", "−") for end in ("value", "low", "high"))
    interval = "" if math.isnan(one.number["low"]) else f"[{low}, {high}]"
    return {"measured": one.measured, "value": value, "95% interval": interval, "data, task, size": one.where}


def _chapter(shown: str) -> str:
    notebook, _, section = shown.partition("#")
    return f"{int(notebook[:2])}: {section.replace('-', ' ')}" if section else f"chapter {int(notebook[:2])}"


def _link(shown: str) -> str:
    notebook, mark, section = shown.partition("#")
    return f'<a href="{notebook}.ipynb{mark}{section}">{_chapter(shown)}</a>'
