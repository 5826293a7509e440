"""The errors that reach a person. Each says what was seen, where, and what to do next."""


class NormscopeError(Exception):
    """The base of every error that Normscope raises on purpose.

    The command line prints its message as one sentence and exits with `exit_code`.
    """

    exit_code = 1


class InputError(NormscopeError):
    """What the user passed cannot be used as it is: a recipe, an option, an image, a tensor."""

    exit_code = 2


class DataError(InputError):
    """A data set cannot be used: the message names the file, the key and the row."""


class RecipeError(InputError):
    """A recipe cannot be used: the message names the file and the field."""


class OwnModelError(RecipeError):
    """A network of somebody's own raised while it was at work: the message names its line."""


class RunFolderError(InputError):
    """A run folder cannot be used: it is missing, taken, unreadable or of another version."""


class StudyError(InputError):
    """A study cannot be used: its design, its folder or its file; the message says which part."""


class StorageError(NormscopeError):
    """The disk refused: it is full, read-only, or gone. What had been saved before is intact."""


class RankError(NormscopeError):
    """Another process of `torch.distributed` failed, or does not answer; so this one stopped."""


class DivergenceError(NormscopeError):
    """Training produced a number that is not finite. The last good checkpoint is kept."""


class IntegerTensorError(InputError, TypeError):
    """Statistics were asked of integers, whose mean and variance integers cannot hold."""


class BatchTooSmallError(InputError, ValueError):
    """A batch has one value per channel, from which no variance can be formed."""


class TrainingInterruptedError(NormscopeError):
    """A person asked the training to stop; it finished its step, saved, and says how to resume."""

    exit_code = 130
