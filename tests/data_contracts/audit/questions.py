"""The queries of docs/audit.md."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/audit.md"
MAY_BE_EMPTY = "<!-- may be empty -->"


def questions() -> list[tuple[str, str, bool]]:
    """Heading, query, and whether the small home has to have an answer, of every query of the page."""
    found = []
    for section in PAGE.read_text().split("\n## ")[1:]:
        for block in re.findall(r"```sql\n(.*?)```", section, re.DOTALL):
            for query in filter(str.strip, block.split(";\n")):
                found.append((section.partition("\n")[0], query, MAY_BE_EMPTY not in section))
    return found
