"""Show: records become charts and a page. No torch here: a page is drawn from records alone."""

from normscope.report._report import GENERATOR as GENERATOR
from normscope.report._report import Language as Language
from normscope.report._report import needs_the_extra as needs_the_extra
from normscope.report._report import report_evidence as report_evidence
from normscope.report._report import report_run as report_run
from normscope.report._report import report_study as report_study
from normscope.report._verdict import verdict as verdict
