import pytest

from ml_backend.label_config import Control, control_of, find_controls

TEXT = '<Text name="t" value="$body"/>'


def config(choices: str, text: str = TEXT) -> str:
    return f"<View>{text}{choices}</View>"


def choices(attributes: str = "", name: str = "c", inner: str = '<Choice value="A"/><Choice value="B"/>') -> str:
    return f'<Choices name="{name}" toName="t" {attributes}>{inner}</Choices>'


def test_the_projects_config_has_one_control(label_config: str) -> None:
    assert find_controls(label_config) == (Control("politeness", "text", "text", ("Polite", "Impolite")),)


@pytest.mark.parametrize("attributes", ["", 'choice="single"', 'choice="single-radio"'])
def test_single_choice_is_the_default(attributes: str) -> None:
    assert find_controls(config(choices(attributes))) == (Control("c", "t", "body", ("A", "B")),)


def test_of_multiple_choice_several_can_be_chosen() -> None:
    (control,) = find_controls(config(choices('choice="multiple"')))
    assert control == Control("c", "t", "body", ("A", "B"), multiple=True)


def test_a_model_answers_only_where_as_many_classes_can_be_chosen() -> None:
    single, several = choices(name="single"), choices('choice="multiple"', name="several")
    controls = find_controls(config(single + several))
    found = [control_of(controls, ("B", "A"), multiple) for multiple in (False, True)]
    assert [control.from_name for control in found if control is not None] == ["single", "several"]
    assert control_of(controls[:1], ("A", "B"), multiple=True) is None


def test_an_alias_is_what_annotations_hold() -> None:
    inner = '<Choice value="A" alias="a"/><Choice value="B"/>'
    assert find_controls(config(choices(inner=inner)))[0].classes == ("a", "B")


@pytest.mark.parametrize(
    "unservable",
    [
        "",
        "no xml",
        "<View>",
        "<View/>",
        config(choices('allowNested="true"')),
        config(choices('perRegion="true"')),
        config(choices(), text='<Text name="t" value="$body" valueType="url"/>'),
        config(choices(), text='<Text name="t" value="a fixed text"/>'),
        config(choices(), text='<Image name="t" value="$image"/>'),
        config(choices(), text=""),
        config('<Labels name="c" toName="t"><Label value="A"/></Labels>'),
    ],
)
def test_a_config_that_cannot_be_served_has_no_control(unservable: str) -> None:
    assert find_controls(unservable) == ()


def test_of_several_controls_the_one_with_the_models_classes_counts() -> None:
    other = choices(name="other", inner='<Choice value="X"/><Choice value="Y"/>')
    controls = find_controls(f"<!-- two questions -->{config(other + choices())}")
    assert [control.from_name for control in controls] == ["other", "c"]
    wanted = control_of(controls, ("B", "A"))
    assert wanted is not None
    assert wanted.from_name == "c"
    assert control_of(controls, ("A", "B", "C")) is None
