"""Run: a recipe and data become a trained network, a record, and a folder that can be resumed."""

from normscope.training._environment import choose_device as choose_device
from normscope.training._environment import cpu_threads as cpu_threads
from normscope.training._environment import environment as environment
from normscope.training._evaluation import Rows as Rows
from normscope.training._evaluation import Statistics as Statistics
from normscope.training._evaluation import evaluate as evaluate
from normscope.training._evaluation import test_scores as test_scores
from normscope.training._fitness import refuse_misfit as refuse_misfit
from normscope.training._fitness import refuse_other_data as refuse_other_data
from normscope.training._interrupts import stop_requests as stop_requests
from normscope.training._memory import memory_errors as memory_errors
from normscope.training._network import build_network as build_network
from normscope.training._network import has_written_out_step as has_written_out_step
from normscope.training._observers import Observer as Observer
from normscope.training._observers import StartObserver as StartObserver
from normscope.training._observers import StartView as StartView
from normscope.training._observers import StepView as StepView
from normscope.training._own_model import own_model_errors as own_model_errors
from normscope.training._own_model import (
    refuse_what_cannot_be_built as refuse_what_cannot_be_built,
)
from normscope.training._predict import Prediction as Prediction
from normscope.training._predict import Reader as Reader
from normscope.training._predict import predict_run as predict_run
from normscope.training._run_folder import RunFolder as RunFolder
from normscope.training._run_folder import load as load
from normscope.training._schedule import learning_rate as learning_rate
from normscope.training._together import train_together as train_together
from normscope.training._train import TrainResult as TrainResult
from normscope.training._train import data_record as data_record
from normscope.training._train import dataset_of as dataset_of
from normscope.training._train import resume as resume
from normscope.training._train import test_run as test_run
from normscope.training._train import train as train
from normscope.training._train import train_into as train_into
from normscope.training._train import unfinished_run as unfinished_run
