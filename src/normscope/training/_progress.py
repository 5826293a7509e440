"""The record of a training, kept true to its state, and both on disk where there is a folder."""

from normscope._errors import DivergenceError, OwnModelError, StorageError, TrainingInterruptedError
from normscope.records import Environment, Run, Status, TestScores
from normscope.training._run_folder import RunFolder
from normscope.training._state import TrainingState

_WITHOUT_EPS = {"none", "mean", "weight", "clipped"}


class Progress:
    """Ties a training's state to its record and its folder.

    Attributes:
        run: the record as it is now.
    """

    def __init__(self, run: Run, state: TrainingState, folder: RunFolder | None) -> None:
        self.run = run
        self._state = state
        self._folder = folder
        self._kept: str | None = None

    def take_up(self, here: Environment) -> None:
        """Go to the folder's newest checkpoint, and note where and on what the run goes on."""
        if self._folder is None:
            return
        self._folder.restore(self._state)
        self._folder.write_recipe(self.run.recipe)
        notes: tuple[str, ...] = ()
        if self._state.epochs or self._state.step:
            self._kept = self.place
            notes += (f"Resumed {self.place}.",)
            if here != self.run.environment:
                before = self.run.environment.model_dump_json()
                notes += (f"Resumed in another environment than {before}: the bits may differ.",)
        self.run = self.run.model_copy(update={"environment": here})
        self.write("running", *notes)

    def save(self) -> None:
        """A checkpoint first, then the record: a record never promises what is not there.

        Raises:
            StorageError: if the disk refuses; with how to go on.
        """
        try:
            if self._folder:
                self._folder.save(self._state)
                self._kept = self.place
            self.write("running")
        except StorageError as error:
            place = f" {self._kept}" if self._kept else ""
            msg = f"{error} Then go on{place}: normscope train --resume {self._folder}"
            raise StorageError(msg) from error

    def write(self, status: Status, *notes: str, test: TestScores | None = None) -> None:
        """Bring the record up to date, in memory and on disk."""
        self.run = self.run.model_copy(
            update={
                "status": status,
                "epochs": tuple(self._state.epochs),
                "notes": self.run.notes + notes,
                "test": test,
            }
        )
        if self._folder:
            self._folder.write_run(self.run)

    @property
    def place(self) -> str:
        """Where the training stands, in words."""
        state = self._state
        if state.step:
            return f"in epoch {state.epoch} after step {state.step} of {state.steps_per_epoch}"
        return f"after epoch {len(state.epochs)}"

    def interrupted(self) -> TrainingInterruptedError:
        """Note an interruption; the error that says how to go on."""
        self.write("interrupted", f"Interrupted {self.place}.")
        again = f" Go on with:\n  normscope train --resume {self._folder}" if self._folder else ""
        return TrainingInterruptedError(f"Stopped {self.place}, and saved.{again}")

    def broken(self, error: OwnModelError, *, alone: bool) -> OwnModelError:
        """The error with where, and how to go on; the record stays as it is, to be taken up.

        Args:
            error: what the network raised.
            alone: whether the run is nobody's who will try again in a way of their own.
        """
        msg = f"{error} That was {self.place}."
        if self._folder and alone:
            again = f"normscope train --resume {self._folder}"
            msg += f" Mend it, and go on {self._kept or 'from the beginning'}: {again}"
        return OwnModelError(msg)

    def diverged(self, error: DivergenceError) -> DivergenceError:
        """Note a divergence; the error with what is kept, and what to try."""
        self.write("diverged", str(error))
        recipe = self.run.recipe
        kept = f" The last good checkpoint, {self._kept}, is kept." if self._kept else ""
        where = f" The record is in {self._folder.path}." if self._folder else ""
        advice = [f"a smaller --learning-rate (it was {recipe.learning_rate:g})"]
        if recipe.norm not in _WITHOUT_EPS and recipe.model is None:
            advice.append(f"a larger --eps (it was {recipe.eps:g})")
        if recipe.weights == "plain":
            advice.append("--weights scaled")
        return DivergenceError(f"{error}{kept}{where} Try {' or '.join(advice)}.")
