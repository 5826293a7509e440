"""`normscope report RUN|STUDY`: one page that opens from disk."""

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from normscope._errors import InputError, NormscopeError
from normscope.cli import _console

if TYPE_CHECKING:
    from normscope.records import Inspection, Study

_HEAD = 2000


class _Language(StrEnum):
    """What the page is written in."""

    EN = "en"
    ZH = "zh"


def report(
    path: Annotated[
        Path,
        typer.Argument(
            help="A run folder, a study folder, or a study's file.", metavar="RUN|STUDY"
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page's file. Default: report.html in the folder."),
    ] = None,
    language: Annotated[
        _Language,
        typer.Option(metavar="en|zh", help="What the page is written in: English or Chinese."),
    ] = _Language.EN,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Where a run's data are now, if they moved."),
    ] = None,
) -> None:
    """Write one HTML file that shows a run or a study; it opens from disk with no network."""
    from normscope.report import needs_the_extra

    needs_the_extra()
    folder = path if path.is_dir() else path.parent
    file = out or folder / "report.html"
    _refuse_what_is_not_ours(file)
    is_study = _is_study(path)
    if is_study and data:
        msg = f"{path}: this is a study, which holds all that its page needs; --data is for a run."
        raise InputError(msg)
    _write(file, _study_page(path, language) if is_study else _run_page(path, language, data))


def _is_study(path: Path) -> bool:
    """Whether this is a study, or a study's folder.

    Raises:
        InputError: if it is neither a study nor a run.
    """
    if path.is_dir():
        if (path / "study.json").exists() or (path / "run.json").exists():
            return (path / "study.json").exists()
        msg = (
            f"{path}: there is no run and no study here. Make one with `normscope train` or "
            "`normscope compare`."
        )
        raise InputError(msg)
    try:
        with path.open("rb") as file:
            return path.suffix == ".gz" or b'"design"' in file.read(_HEAD)
    except FileNotFoundError:
        msg = f"{path}: there is no such run or study."
        raise InputError(msg) from None


def _study_page(path: Path, language: _Language) -> str:
    from normscope.records import EvidenceTable, Study
    from normscope.records._evidence_pictures import EvidencePictures
    from normscope.report import report_evidence, report_study

    study, folder = Study.load(path), path if path.is_dir() else path.parent
    whole = path.is_dir() or path.name in {"study.json", "study.json.gz"}
    if whole and (folder / "evidence.json").exists():
        evidence, pictures = EvidenceTable.load(folder), EvidencePictures.load(folder)
        return report_evidence(study, evidence, pictures, language.value)
    page = report_study(study, language.value)
    if study.status != "complete":
        _console.say_wrapped(_unfinished(study, folder))
    return page


def _unfinished(study: "Study", folder: Path) -> str:
    """How far a study is, and how it goes on."""
    design = study.design
    runs = len(design.seeds) * sum(len(design.rates_of(arm)) for arm in design.arms)
    return (
        f"{len(study.runs)} of {runs} runs have ended. The command that began the study goes on: "
        f"normscope compare … --out {quote(str(folder))}"
    )


def _run_page(path: Path, language: _Language, data: str | None) -> str:
    from normscope.records import Run
    from normscope.report import report_run

    run = Run.load(path)
    inspection, why = _inspection(path if path.is_dir() else path.parent, data)
    return report_run(run, inspection, language.value, why=why)


def _inspection(folder: Path, data: str | None) -> "tuple[Inspection | None, str]":
    """What is inside the run's network; if nobody has looked yet, look. Otherwise, why not."""
    from normscope.records import Inspection

    if found := Inspection.load(folder):
        return found, ""
    from normscope.studies._inspect_run import inspect_run

    _console.say("Looking inside the network ...")
    try:
        return inspect_run(folder, data), ""
    except NormscopeError as error:
        _console.say(f"note: the page has no inside of the network. {error}", style="dim")
        return None, str(error)


def _refuse_what_is_not_ours(file: Path) -> None:
    """A page takes the place of an older page, and of nothing else.

    Raises:
        InputError: naming the file.
    """
    from normscope.report import GENERATOR

    if file.is_dir():
        msg = f"{file}: this is a folder. Name the page's file, as in --out {file / 'report.html'}"
        raise InputError(msg)
    if not file.exists():
        return
    with file.open("rb") as old:
        if GENERATOR.encode() not in old.read(_HEAD):
            msg = (
                f"{file}: this file exists, and is not a page of Normscope's. Choose another name "
                "with --out, or delete it first."
            )
            raise InputError(msg)


def _write(file: Path, page: str) -> None:
    from normscope.records import storage_errors, write_atomically

    content = page.encode()
    with storage_errors(file):
        write_atomically(file, content)
    size = f"{len(content) / 1e6:.1f} MB"
    _console.say(f"Wrote {quote(str(file))} ({size}). Open it in a browser; it needs no network.")
