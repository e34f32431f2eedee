"""Which labelling configs can be served, and what a refusal tells."""

import json

import pytest
from support import ROOT

from connector.annotations.controls import from_json as control_from_json
from connector.annotations.label_config import find_control
from connector.errors import UsageError

TEXT = '<Text name="text" value="$text"/>'
KINDS = "Choices, Taxonomy, Rating, Number or Pairwise"
OBJECTS = "Text, HyperText, Paragraphs, Chat, List, Table, Image, Audio or AudioPlus"
TWO = '<Choice value="Polite"/><Choice value="Impolite"/>'


def choices(inner: str = TWO, name: str = "politeness", to: str = "text", **attributes: str) -> str:
    written = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<Choices name="{name}" toName="{to}"{written}>{inner}</Choices>'


def view(*parts: str) -> str:
    return f"<View>{''.join(parts)}</View>"


def refusal(config: str, name: str | None = None) -> str:
    with pytest.raises(UsageError) as error:
        find_control(config, name)
    return str(error.value)


def test_the_packaged_config_can_be_served() -> None:
    config = (ROOT / "label_config.xml").read_text(encoding="utf-8")
    control = find_control(config)
    assert (control.name, control.to_name, control.data_key) == ("politeness", "text", "text")
    assert control.classes == ("Polite", "Impolite")
    assert control.spellings == {"Polite": "Polite", "Impolite": "Impolite"}


@pytest.mark.parametrize("attributes", [{}, {"choice": "single"}, {"choice": "single-radio"}])
def test_single_choice_is_served_however_it_is_written(attributes: dict[str, str]) -> None:
    assert find_control(view(TEXT, choices(**attributes))).classes == ("Polite", "Impolite")


@pytest.mark.parametrize(
    ("attributes", "none_counts"),
    [
        ({}, True),
        ({"required": "false"}, True),
        ({"required": "true"}, False),
        ({"visibleWhen": "choice-selected"}, False),
    ],
)
def test_of_multiple_choice_none_counts_where_a_form_can_be_submitted_so(
    attributes: dict[str, str], none_counts: bool
) -> None:
    control = find_control(view(TEXT, choices(choice="multiple", **attributes)))
    assert (control.multiple, control.none_counts) == (True, none_counts)
    single = find_control(view(TEXT, choices(**attributes)))
    assert (single.multiple, single.none_counts) == (False, False)


def test_labels_of_single_choice_are_the_classes() -> None:
    control = find_control(view(TEXT, choices()))
    assert control.label_of(["Impolite"]) == "Impolite"
    assert control.classes_of("Impolite") == ["Impolite"]


@pytest.mark.parametrize("chosen", [[], ["é"], ['["a"', "é"], ['["a"', "b, c", "é"]])
def test_labels_of_multiple_choice_are_sets_in_the_configs_order(chosen: list[str]) -> None:
    inner = "".join(f"<Choice value='{name}'/>" for name in ('["a"', "b, c", "é"))
    control = find_control(view(TEXT, choices(inner, choice="multiple")))
    label = control.label_of(chosen[::-1])
    assert control.classes_of(label) == chosen
    assert label == control.label_of(chosen)
    assert label not in control.classes


@pytest.mark.parametrize("kind", ["single", "multiple"])
def test_a_control_is_read_from_json_as_it_was_written(kind: str) -> None:
    control = find_control(view(TEXT, choices(choice=kind)))
    assert control_from_json(json.loads(json.dumps(control.to_json()))) == control


def test_classes_keep_the_order_of_the_config() -> None:
    inner = "".join(f'<Choice value="{name}"/>' for name in ("z", "a", "m"))
    assert find_control(view(TEXT, choices(inner))).classes == ("z", "a", "m")


def test_the_data_key_is_that_of_the_text() -> None:
    assert find_control(view('<Text name="text" value="$request"/>', choices())).data_key == "request"


def test_flags_that_are_off_do_no_harm() -> None:
    assert find_control(view(TEXT, choices(perRegion="false", perItem="false"))).name == "politeness"


def test_wrapping_views_and_headers_do_no_harm() -> None:
    config = view('<Header value="Read"/>', f'<View className="box">{TEXT}</View>', view(choices()))
    assert find_control(config).name == "politeness"


def test_a_choice_with_a_dollar_is_served_where_the_form_leaves_it_alone() -> None:
    inner = '<Choice value="Costs $5" alias="five"/><Choice value="US$"/><Choice value="$ 5"/>'
    assert find_control(view(TEXT, choices(inner))).classes == ("five", "US$", "$ 5")


def test_aliases_are_the_classes_and_values_still_understood() -> None:
    inner = '<Choice value="Polite" alias="p"/><Choice value="Impolite"/>'
    control = find_control(view(TEXT, choices(inner)))
    assert control.classes == ("p", "Impolite")
    assert control.spellings == {"Polite": "p", "p": "p", "Impolite": "Impolite"}


def test_an_alias_that_is_another_choices_value_means_the_choice_it_names() -> None:
    inner = '<Choice value="yes" alias="no"/><Choice value="no" alias="yes"/>'
    control = find_control(view(TEXT, choices(inner)))
    assert control.classes == ("no", "yes")
    assert control.spellings == {"no": "no", "yes": "yes"}  # annotations spell by alias


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (view(TEXT, choices(perRegion="true")), "Choices 'politeness' (perRegion=\"true\")"),
        (view(TEXT, choices(perItem="true")), "Choices 'politeness' (perItem=\"true\")"),
        (view(TEXT, choices("", value="$options")), "Choices 'politeness' (its choices come from the task's data)"),
        (
            view(TEXT, choices('<Choice value="Costs $5"/><Choice value="Free"/>')),
            "Choices 'politeness' (the form puts task data for '$5' in the choice 'Costs $5': give it an alias)",
        ),
        (view(TEXT, choices('<Choice value="Only"/>')), "Choices 'politeness' (fewer than two choices)"),
        (
            view('<Video name="text" value="$video"/>', choices()),
            "Choices 'politeness' (on Video)",
        ),
        (
            view('<Text name="text" value="$text" valueType="URL"/>', choices()),
            "Choices 'politeness' (its Text has valueType=\"URL\")",
        ),
        (view('<Text name="text" value="fixed"/>', choices()), "Choices 'politeness' (its Text shows no task data)"),
        (
            view(TEXT, '<Text name="more" value="$more"/>', choices(to="text,more")),
            "Choices 'politeness' (toName names several objects)",
        ),
        (view(TEXT, '<TextArea name="note" toName="text"/>'), "TextArea 'note' (another kind of control)"),
        (
            view(TEXT, '<Labels name="span" toName="text"><Label value="A"/><Label value="B"/></Labels>'),
            "Labels 'span' (another kind of control)",
        ),
        (view(TEXT), "no control at all"),
    ],
    ids=[
        "per region",
        "per item",
        "dynamic choices",
        "task data in a choice",
        "one choice",
        "on a video",
        "text by url",
        "fixed text",
        "two objects",
        "text area",
        "labels",
        "no control",
    ],
)
def test_what_cannot_be_served_is_refused_with_what_was_found(config: str, found: str) -> None:
    words = refusal(config)
    assert words.startswith(f"The labelling config needs a {KINDS} on a {OBJECTS}, with at least two answers. ")
    assert words.endswith(f"Found: {found}.")


def test_a_refusal_lists_every_control() -> None:
    words = refusal(view(TEXT, choices(perRegion="true"), '<TextArea name="note" toName="text"/>'))
    assert "Choices 'politeness' (perRegion=\"true\")" in words
    assert "TextArea 'note' (another kind" in words


def test_other_controls_beside_it_are_left_alone() -> None:
    config = view(
        TEXT,
        '<Rating name="stars" toName="text" perRegion="true"/>',
        choices(perItem="true", name="topics"),
        choices(),
        '<TextArea name="note" toName="text"/>',
    )
    assert find_control(config).name == "politeness"


def test_of_several_a_name_has_to_be_given() -> None:
    config = view(TEXT, choices(), choices(name="tone"))
    words = refusal(config)
    assert "--control politeness" in words
    assert "--control tone" in words
    assert find_control(config, "tone").name == "tone"


def test_names_are_quoted_for_a_shell_where_that_is_needed() -> None:
    words = refusal(view(TEXT, choices(name="senti &quot;ment&quot;"), choices(name="topics")))
    assert words.endswith("""Choose one: --control 'senti "ment"', --control topics.""")


def test_single_and_multiple_choice_beside_each_other_can_both_be_served() -> None:
    config = view(TEXT, choices(), choices(choice="multiple", name="topics"))
    assert "--control politeness, --control topics" in refusal(config)
    assert [find_control(config, name).multiple for name in ("politeness", "topics")] == [False, True]


@pytest.mark.parametrize("name", ["mood", "note"], ids=["not there", "of another kind"])
def test_a_name_that_cannot_be_served_is_refused_with_what_was_found(name: str) -> None:
    words = refusal(view(TEXT, choices(), '<TextArea name="note" toName="text"/>'), name)
    assert f"called '{name}'" in words
    assert "Choices 'politeness' (can be served)" in words
    assert "TextArea 'note' (another kind" in words


@pytest.mark.parametrize("config", ["", "   ", "<View>", "no markup", "<View></Other>", '<View><Choices name="a"/>'])
def test_a_broken_config_is_refused_in_a_sentence(config: str) -> None:
    assert refusal(config).startswith("The labelling config cannot be read: ")


def test_an_empty_view_has_no_control() -> None:
    assert refusal("<View></View>").endswith("Found: no control at all.")


def test_choices_on_an_object_that_is_not_there_are_refused() -> None:
    with pytest.raises(UsageError):
        find_control(view(TEXT, choices(to="nowhere")))


def test_a_control_comes_back_from_json_as_it_was() -> None:
    control = find_control(view(TEXT, choices('<Choice value="Polite" alias="p"/><Choice value="Impolite"/>')))
    assert control_from_json(control.to_json()) == control
