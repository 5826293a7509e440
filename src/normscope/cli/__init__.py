"""The commands: wires, prints, exits. The only room that prints."""
