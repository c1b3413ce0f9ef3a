"""Whether a model's chat template comes to an end: it is a program, and comes with the model.

In: a template. Out: nothing, or an error. It is filled once in a process of its own, with limits of time and memory;
Jinja's sandbox keeps it from files and code, but neither from loops in loops nor from texts of gigabytes.
"""

import json
import subprocess
import sys

from tasks.priming.errors import SetupError

_SECONDS = 10
_BYTES = 1 << 30

_FILL = """
import json, resource, sys
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

seconds, size, template = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (size, size))
environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
environment.globals |= {"raise_exception": str, "strftime_now": str}
try:
    messages = [{"role": "user", "content": "a"}]
    text = environment.from_string(template).render(messages=messages, add_generation_prompt=True)
except MemoryError:
    sys.exit(3)
except Exception:  # filling it in earnest says what is wrong
    sys.exit(0)
sys.exit(3 if len(text) > 1_000_000 else 0)
"""


def require_end(template: str | dict[str, str] | None) -> None:
    """Make sure that a chat template can be filled in a moment.

    Args:
        template: A tokenizer's template, or several by name; None if it has none.

    Raises:
        SetupError: It takes longer than 10 s, 1 GiB or a million characters.
    """
    for text in template.values() if isinstance(template, dict) else filter(None, [template]):
        request = json.dumps([_SECONDS, _BYTES, text])
        # -I: neither this folder nor the environment's is searched for modules.
        filled = subprocess.run(
            [sys.executable, "-I", "-c", _FILL], input=request, text=True, capture_output=True, check=False
        )
        if filled.returncode != 0:
            raise SetupError(
                f"The model's chat template does not come to an end within {_SECONDS} s, {_BYTES >> 30} GiB and a "
                "million characters, so that no instruction could be sent. Give a model with another template, or "
                "remove it to send instructions as plain text: delete chat_template.jinja"
            )
