"""The stages of an experiment, and the commands `python -m tasks.X`."""

from tasks.guard import watch_uncaught

watch_uncaught()
