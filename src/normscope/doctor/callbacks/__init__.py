"""`watch` as a callback of other people's training loops; neither is imported before it is used."""

from normscope.doctor.callbacks._attached import Attached as Attached
from normscope.doctor.callbacks._lightning import lightning_callback as lightning_callback
from normscope.doctor.callbacks._transformers import transformers_callback as transformers_callback
