"""docs/templates.md shows what is served of the templates in the installed Label Studio."""

import importlib.util

from support import ROOT

spec = importlib.util.spec_from_file_location("label_studio_templates", ROOT / "tools" / "label_studio_templates.py")
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_the_page_is_what_is_served() -> None:
    assert (ROOT / "docs" / "templates.md").read_text(encoding="utf-8") == tool.page()


def test_every_template_is_in_it() -> None:
    assert len(list(tool.templates())) > 60
