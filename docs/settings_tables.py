"""Write the tables of settings in docs/models from the settings themselves.

python docs/settings_tables.py            writes them
python docs/settings_tables.py --check    exit status 1 where a page is out of date

A table stands between `<!-- settings: MODEL -->` and `<!-- end of settings -->`.
"""

import pathlib
import re
import sys

from jaxpert.app import families
from jaxpert.core import settings
from jaxpert.report.published import markdown_table

PAGES = pathlib.Path(__file__).parent / "models"
END = "<!-- end of settings -->"


def table(model: str) -> str:
    """Every setting of a model with its default, range and meaning."""
    rows = []
    for entry in settings.entries(families.entry_of(model).settings):
        rows.append([f"`{entry.key}`", f"`{entry.default!r}`", entry.range, entry.meaning])
    return markdown_table(["setting", "default", "range", "meaning"], rows)


def filled(text: str) -> str:
    """A page with its tables as they are now."""
    blank = re.sub(rf"(<!-- settings: \w+ -->)\n.*?{END}", r"\1", text, flags=re.S)

    def with_table(heading: re.Match) -> str:
        return f"{heading[0]}\n\n{table(heading[1]).strip()}\n\n{END}"

    return re.sub(r"<!-- settings: (\w+) -->", with_table, blank)


def main(arguments: list[str]) -> int:
    stale = []
    for page in sorted(PAGES.glob("*.md")):
        before = page.read_text()
        after = filled(before)
        if after != before:
            stale.append(page.name)
            if "--check" not in arguments:
                page.write_text(after)
    for name in stale:
        print(f"{name} {'is out of date' if '--check' in arguments else 'is written'}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
