"""The examples of docstrings as blocks of code."""

import re
import textwrap

import griffe

EXAMPLE = re.compile(r"^( *)Example:\n((?:\1    .*\n?|\n)+)", re.M)


class Examples(griffe.Extension):
    """Writes what stands below `Example:` as Python."""

    def on_object(self, *, obj, **_):
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(as_code, obj.docstring.value + "\n")


def as_code(match):
    code = textwrap.dedent(match[2]).strip()
    return f"**Example**\n\n```python\n{code}\n```\n"
