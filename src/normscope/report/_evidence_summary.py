"""What the evidence comes to in a few sentences, and how to read the rest of its page."""

from collections import Counter

from normscope.records import EvidenceTable
from normscope.report._evidence_rows import measured
from normscope.report._evidence_words import told
from normscope.report._parts import Section, Text
from normscope.report._words import Words


def sentences(evidence: EvidenceTable, say: Words) -> list[str]:
    """How many of each; whether there is a gain; which explanations; then what that means."""
    counts = Counter(row.judgement for row in evidence.rows)
    told_counts = say(
        "evidence counts",
        all=len(evidence.rows),
        survive=counts["survives"],
        contradicted=counts["contradicted"],
        open=counts["not decided"],
    )
    rows = {row.key: row for row in evidence.rows}
    gain = rows.get("gain")
    named = [say(f"evidence gain {gain.judgement}", measured=measured(gain, say))] if gain else []
    return [told_counts, *named, *_by_explanation(evidence, say), say("evidence means")]


def _by_explanation(evidence: EvidenceTable, say: Words) -> list[str]:
    """The explanations with a contradicted prediction, and those without and one that survives."""
    of = dict[str, Counter[str]]()
    for row in evidence.rows:
        if row.key != "gain":
            of.setdefault(told(row.explanation, say).text, Counter())[row.judgement] += 1

    def listed(judgement: str, names: list[str]) -> str:
        parts = [
            say("some of them", name=n, some=of[n][judgement], all=of[n].total()) for n in names
        ]
        return say("semicolon").join(parts)

    against = [name for name in of if of[name]["contradicted"]]
    borne_out = [name for name in of if of[name]["survives"] and name not in against]
    found = {
        "evidence against": listed("contradicted", against),
        "evidence for": listed("survives", borne_out),
    }
    return [say(key, explanations=names) for key, names in found.items() if names]


def how_to_read(evidence: EvidenceTable, say: Words) -> Section:
    """What x, an arm, the gain and the verdicts are, before any of them is used."""
    paragraphs = [
        say("reading predictions"),
        say("reading arms"),
        say("reading verdicts", confidence=say.share(evidence.confidence)),
        say("reading kinds"),
    ]
    return Section("reading", say("how to read"), [Text(each) for each in paragraphs])
