"""The contestants of every section but the training step's: ``function(pace, **job)`` each."""
