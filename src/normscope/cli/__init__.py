"""The commands: wires, prints, exits. The only room that prints."""

from normscope.cli._app import app as app
from normscope.cli._app import main as main
