"""Prints docs/templates.md: what the connector serves of the templates that Label Studio ships.

python tools/label_studio_templates.py > docs/templates.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import yaml

from connector.annotations.label_config import list_controls
from connector.demo.servers import label_studio_program
from connector.errors import UsageError

HEAD = """# Label Studio's templates

What `connector init` makes of each template that Label Studio 1.23.2 ships, as it is. If several controls can be
served, all are, unless you choose some with `--control`. A control that cannot be served is named with the reason. The
open-source edition accepts configs with a `Chat`, but its form cannot show one.

| group | template | served | not served |
| --- | --- | --- | --- |
"""


def templates() -> Iterator[tuple[str, str, str]]:
    """Group, title and labelling config of each template in the installed package, in order."""
    (folder,) = label_studio_program().parents[1].glob("lib/python*/site-packages/label_studio/annotation_templates")
    found = []
    for path in folder.glob("**/config.yml"):
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = described.get("config") or path.with_suffix(".xml").read_text(encoding="utf-8")
        found.append((described["group"], described["title"], config))
    yield from sorted(found)


def row(group: str, title: str, config: str) -> str:
    """The template's row of the table."""
    try:
        controls = list_controls(config)
    except UsageError as error:
        return f"| {group} | {title} | | {error} |"
    served = [f"{control.tag} `{control.name}`" for control in controls if not control.reason]
    refused = [f"{control.tag} `{control.name}` ({control.reason})" for control in controls if control.reason]
    return f"| {group} | {title} | {', '.join(served)} | {', '.join(refused)} |".replace("|  |", "| |")


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(row(*template) for template in templates()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
