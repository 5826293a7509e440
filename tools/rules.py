"""Write the pages of the rules: `docs/rules/`, from the docstrings; and what the README shows.

Run by `./dev docs`. Tests hold that the committed pages are what this writes.
"""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

from normscope.doctor._rules import Rule, all_rules

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "rules"
HUNDREDS = {
    "1": "Configuration",
    "2": "Graph",
    "3": "Stored statistics",
    "4": "Data",
    "5": "Training loop",
    "6": "Optimizer",
    "7": "Folding and export",
}
NEEDS = {
    "(?:observation|answers)": ("data", "has_data"),
    "optimizer": ("the optimizer", "has_optimizer"),
    "log": ("a watched training loop", "has_log"),
    "graph": ("a model that `torch.fx` can trace", "has_graph"),
}
"""What a rule's code asks of a case: what that is called, and how it asks whether it is there."""
ISSUE = re.compile(r"(?<![\w/])([\w.-]+/[\w.-]+)?#(\d+)")

INDEX = """# The rules

What `normscope check` looks for. A rule's page is its docstring, which the command prints as well:
`normscope check --explain NS302`. How to check: [check](../check.md).

Every rule needs the model. One that misses what it needs besides is listed as skipped; one that
*uses* something looks without it as well, and sees less.
"""

CHECKED = "check"
"""What the README's printed check stands between."""
EXAMPLE = "check docs.broken:network --data docs.broken:batches"
"""The command that it comes from."""


def needs(rule: Rule) -> str:
    """What a rule asks for besides the model, by the code of its `find` and of what that calls."""
    source = "\n".join(map(inspect.getsource, _called(rule.find)))
    asked = [
        f"*uses* {name}" if f"case.{optional}" in source else name
        for attribute, (name, optional) in NEEDS.items()
        if re.search(rf"\bcase\.{attribute}\b", source)
    ]
    return ", ".join(asked)


def _called(function: FunctionType) -> list[FunctionType]:
    """A function and those of the doctor's own that it calls, and they call."""
    found, waiting = [], [function]
    while waiting:
        each = waiting.pop()
        found.append(each)
        names = set(re.findall(r"\w+", inspect.getsource(each)))
        waiting += [
            value
            for name, value in each.__globals__.items()
            if name in names
            and isinstance(value, FunctionType)
            and value.__module__.startswith("normscope.doctor")
            and value not in [*found, *waiting]
        ]
    return found


def index() -> str:
    """`docs/rules/README.md`."""
    parts, heading = [INDEX], ""
    for rule in all_rules():
        if (title := HUNDREDS[rule.code[2]]) != heading:
            heading = title
            parts.append(f"\n## {title}\n\n| code | name | what it finds | needs |\n")
            parts.append("| --- | --- | --- | --- |\n")
        link = f"[{rule.code}]({rule.code}.md)"
        parts.append(f"| {link} | `{rule.name}` | {rule.summary} | {needs(rule)} |\n")
    return "".join(parts)


def page(rule: Rule) -> str:
    """A rule's page, whose references are links."""
    text, heading, references = rule.page.partition("## References")
    linked = "\n".join(map(_linked, references.split("\n")))
    return f"# {rule.code}: {rule.name}\n\n{text}{heading}{linked}\n\n[All rules](README.md)\n"


def _linked(line: str) -> str:
    """A line whose issues are links; a number alone is of the repository before it."""
    repository = ""

    def link(issue: re.Match[str]) -> str:
        nonlocal repository
        repository = issue[1] or repository
        return f"[{issue[0]}](https://github.com/{repository}/issues/{issue[2]})"

    return ISSUE.sub(link, line)


def pages() -> dict[Path, str]:
    """Every page by its file."""
    found = {PAGES / f"{rule.code}.md": page(rule) for rule in all_rules()}
    return {PAGES / "README.md": index(), **found}


def printed() -> str:
    """The README's command, and what it prints."""
    command = [sys.executable, "-m", "normscope", *EXAMPLE.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode != 1:
        raise RuntimeError(done.stderr)
    return f"```\n$ normscope {EXAMPLE}\n{done.stdout.rstrip()}\n```"


def paste(text: str) -> None:
    """Put it into the README."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {CHECKED} -->\n")
    after = rest.partition(f"\n<!-- end of {CHECKED} -->")[2]
    readme.write_text(
        f"{before}<!-- {CHECKED} -->\n{text}\n<!-- end of {CHECKED} -->{after}", encoding="utf-8"
    )


def main() -> None:
    """Write the pages; those of rules that are gone go."""
    PAGES.mkdir(exist_ok=True)
    written = pages()
    for file in set(PAGES.glob("*.md")) - set(written):
        file.unlink()
    for file, text in written.items():
        file.write_text(text, encoding="utf-8")
    paste(printed())


if __name__ == "__main__":
    main()
