"""The stages of an experiment and all that they need.

Both calls come before anything else is imported: sources are hashed as they are run, and an error while a library is
imported is shown by the same rules as any other.
"""

from tasks.commands.guard import prepare_process
from tasks.store.code import pin_sources

pin_sources()
prepare_process()
