"""Ask: many runs of one design, compared with paired seeds and intervals; later explain."""

from normscope.studies._compare import compare as compare
from normscope.studies._design import Planned as Planned
from normscope.studies._design import planned_runs as planned_runs
from normscope.studies._explain import EXPLAIN_EPOCHS as EXPLAIN_EPOCHS
from normscope.studies._explain import Explaining as Explaining
from normscope.studies._explain import explain as explain
from normscope.studies._inspect_run import inspect_run as inspect_run
from normscope.studies._messages import RunProgress as RunProgress
from normscope.studies._pool import WorkerError as WorkerError
from normscope.studies._run_set import Plan as Plan
from normscope.studies._run_set import RunsFailedError as RunsFailedError
from normscope.studies._train_many import StudyRun as StudyRun
from normscope.studies._train_many import train_many as train_many
