"""A record becomes one HTML file. What draws it is an extra, and is imported when it is needed."""

import importlib.util
from typing import Literal

from normscope._errors import InputError
from normscope.records import EvidenceTable, Inspection, Run, Study
from normscope.records._evidence_pictures import EvidencePictures

Language = Literal["en", "zh"]

GENERATOR = '<meta name="generator" content="Normscope '
"""How a page of ours says that it is one, within its first kilobyte."""

_EXTRA = ("altair", "jinja2", "vl_convert")


def report_run(
    run: Run, inspection: Inspection | None = None, language: Language = "en", *, why: str = ""
) -> str:
    """The page of a run: one HTML file that opens from disk with no network.

    Args:
        run: What was trained.
        inspection: What was seen inside; without it the page leaves these parts out and says so.
        language: ``en`` or ``zh``.
        why: Why there is no inspection, as an English sentence.

    Raises:
        InputError: if the extra that draws pages is not installed.
    """
    needs_the_extra()
    from normscope.report._page import html  # noqa: PLC0415 - an extra
    from normscope.report._run_page import run_page  # noqa: PLC0415 - an extra
    from normscope.report._words import Words  # noqa: PLC0415 - with the others

    say = Words(language)
    return html(run_page(run, inspection, say, why=why), say)


def report_study(study: Study, language: Language = "en") -> str:
    """The page of a study: one HTML file that opens from disk with no network.

    Raises:
        InputError: if the extra that draws pages is not installed.
    """
    needs_the_extra()
    from normscope.report._page import html  # noqa: PLC0415 - an extra
    from normscope.report._study_page import study_page  # noqa: PLC0415 - an extra
    from normscope.report._words import Words  # noqa: PLC0415 - with the others

    say = Words(language)
    return html(study_page(study, say), say)


def report_evidence(
    study: Study,
    evidence: EvidenceTable,
    pictures: EvidencePictures | None = None,
    language: Language = "en",
) -> str:
    """The page of a study that asks why batch norm works: one HTML file that needs no network.

    Args:
        study: What was trained.
        evidence: What follows from it.
        pictures: What probes saw; without them the page leaves its pictures out and says so.
        language: ``en`` or ``zh``.

    Raises:
        InputError: if the extra that draws pages is not installed.
    """
    needs_the_extra()
    from normscope.report._evidence_page import evidence_page  # noqa: PLC0415 - an extra
    from normscope.report._page import html  # noqa: PLC0415 - an extra
    from normscope.report._words import Words  # noqa: PLC0415 - with the others

    say = Words(language)
    return html(evidence_page(study, evidence, pictures, say), say)


def needs_the_extra() -> None:
    """Refuse early, in one sentence.

    Raises:
        InputError: naming what is missing, and how to get it.
    """
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        msg = (
            f"A page needs {' and '.join(missing)}, which the base does not bring. "
            'Do: pip install "normscope[report]"'
        )
        raise InputError(msg)
