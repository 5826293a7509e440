"""Arrays from files: one file per format, one list of built-in sets, no torch.

The door is `load`: it takes a path or a built-in name, and gives a `Dataset`.
"""

from normscope.data._dataset import Dataset as Dataset
from normscope.data._dataset import Split as Split
from normscope.data._fingerprint import fingerprint as fingerprint
from normscope.data._framing import Framing as Framing
from normscope.data._ink import read_picture as read_picture
from normscope.data._load import BUILT_IN as BUILT_IN
from normscope.data._load import load as load
