"""Results, and what they were made from: versioned JSON and TOML, no torch."""

from normscope.records._base import Record as Record
from normscope.records._files import storage_errors as storage_errors
from normscope.records._files import strays as strays
from normscope.records._files import write_atomically as write_atomically
from normscope.records._receipt import Change as Change
from normscope.records._receipt import Left as Left
from normscope.records._receipt import Receipt as Receipt
from normscope.records._recipe import Recipe as Recipe
from normscope.records._run import DataRecord as DataRecord
from normscope.records._run import Environment as Environment
from normscope.records._run import EpochRecord as EpochRecord
from normscope.records._run import Run as Run
from normscope.records._run import Score as Score
from normscope.records._run import Status as Status
from normscope.records._run import TestScores as TestScores
