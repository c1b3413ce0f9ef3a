"""The stages of an experiment, and the commands `python -m tasks.X`."""

from tasks.guard import prepare_process

prepare_process()
