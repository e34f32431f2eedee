"""Where settings come from, which one wins, and what is said when one is missing or wrong."""

from pathlib import Path

import pytest

from connector.errors import UsageError
from connector.settings import Settings, default_state_url, load_settings

TOKEN = "b5a2c9d8e7f60123456789abcdef0123456789ab"
NAMES = (
    "LABEL_STUDIO_URL",
    "LABEL_STUDIO_API_KEY",
    "ML_BACKEND_URL",
    "CONNECTOR_STATE",
    "XDG_STATE_HOME",
    "CONNECTOR_RETRY_SECONDS",
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory and an environment with the two settings that have no default."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio:8080")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    monkeypatch.chdir(tmp_path)


def refusal(**options: str | None) -> str:
    with pytest.raises(UsageError) as error:
        load_settings(**options)
    assert error.value.exit_code == 2
    return str(error.value)


def test_the_environment_is_read() -> None:
    settings = load_settings()
    assert settings.label_studio_url == "http://studio:8080"
    assert settings.label_studio_api_key.get_secret_value() == TOKEN
    assert settings.ml_backend_url == "http://127.0.0.1:9090"


def test_a_dotenv_file_in_the_working_directory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL")
    Path(".env").write_text("LABEL_STUDIO_URL=http://from-file:8080\nML_BACKEND_URL='https://model:9090'\nOTHER=1\n")
    settings = load_settings()
    assert settings.label_studio_url == "http://from-file:8080"
    assert settings.ml_backend_url == "https://model:9090"


def test_a_dotenv_that_is_a_folder_is_no_file_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").mkdir()  # as a virtual environment may be called
    assert load_settings().label_studio_url == "http://studio:8080"
    monkeypatch.delenv("LABEL_STUDIO_URL")
    assert refusal().endswith("or a .env file. The .env here is a folder, not a file.")


def test_a_dotenv_that_is_no_utf_8_is_named_and_not_repeated(tmp_path: Path) -> None:
    Path(".env").write_text(f"LABEL_STUDIO_API_KEY={TOKEN}\n", encoding="utf-16")  # as some shells write it
    assert refusal() == f"{tmp_path}/.env cannot be read: it is not UTF-8 text."


def test_the_environment_wins_over_a_dotenv_file() -> None:
    Path(".env").write_text("LABEL_STUDIO_URL=http://from-file:8080\n")
    assert load_settings().label_studio_url == "http://studio:8080"


@pytest.mark.parametrize(
    ("option", "variable"),
    [("label_studio_url", "LABEL_STUDIO_URL"), ("ml_backend_url", "ML_BACKEND_URL"), ("state_url", "CONNECTOR_STATE")],
)
def test_an_option_wins_over_the_environment_and_the_file(
    option: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://environment:1")
    Path(".env").write_text(f"{variable}=http://file:2\n")
    assert getattr(load_settings(), option) == "http://environment:1"
    assert getattr(load_settings(**{option: "http://option:3"}), option) == "http://option:3"


def test_an_option_that_is_not_given_leaves_the_environment() -> None:
    assert load_settings(label_studio_url=None, ml_backend_url=None, state_url=None) == load_settings()


@pytest.mark.parametrize("name", ["STATE_URL", "state_url"])
def test_the_names_of_fields_are_no_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sqlite:///of-another-program.sqlite")
    assert load_settings().state_url == default_state_url()


@pytest.mark.parametrize(("given", "kept"), [("http://a:8080/", "http://a:8080"), ("https://a/ls//", "https://a/ls")])
def test_a_slash_at_the_end_of_an_address_is_dropped(given: str, kept: str) -> None:
    assert load_settings(label_studio_url=given).label_studio_url == kept


def test_blanks_around_a_token_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", f" {TOKEN}\n")
    assert load_settings().label_studio_api_key.get_secret_value() == TOKEN


def test_all_that_is_missing_is_named_with_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL")
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    words = refusal()
    assert "LABEL_STUDIO_URL is not set: give the address of Label Studio" in words
    assert "LABEL_STUDIO_API_KEY is not set: give a token from Label Studio's Account & Settings page" in words
    assert "\n" not in words


@pytest.mark.parametrize("variable", ["LABEL_STUDIO_URL", "ML_BACKEND_URL"])
def test_a_password_within_an_address_is_refused_and_not_printed(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LABEL_STUDIO_URL": "http://a", "LABEL_STUDIO_API_KEY": "t"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(variable, "http://somebody:hidden@a:8080")
    with pytest.raises(UsageError, match=variable) as error:
        load_settings()
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("blank", ["", "   "])
@pytest.mark.parametrize("name", ["LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"])
def test_a_blank_variable_is_named(name: str, blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, blank)
    words = refusal()
    assert words.startswith(name)
    assert ": give " in words


def test_variables_that_are_set_to_nothing_leave_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_BACKEND_URL", "")
    monkeypatch.setenv("CONNECTOR_STATE", "")
    settings = load_settings()
    assert settings.ml_backend_url == "http://127.0.0.1:9090"
    assert settings.state_url == default_state_url()


@pytest.mark.parametrize(
    "address",
    ["studio:8080", "ftp://studio", "localhost", "http://", "http://[::1", "http://studio:port", "https://:80"],
)
@pytest.mark.parametrize("variable", ["LABEL_STUDIO_URL", "ML_BACKEND_URL"])
def test_a_wrong_address_is_refused_by_the_variables_name(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    words = refusal()
    assert words.startswith(f"{variable} ")
    assert "for example http://localhost" in words
    assert "\n" not in words


@pytest.mark.parametrize(
    ("pasted", "address"),
    [
        ("http://studio:8080/", "http://studio:8080"),
        (" http://studio:8080\n", "http://studio:8080"),
        ("HTTP://Studio.Example:8080", "http://studio.example:8080"),
        ("http://studio.example.:80", "http://studio.example"),
        ("https://studio.example:443/", "https://studio.example"),
        ("https://studio.example:80", "https://studio.example:80"),
        ("http://[::1]:8080/projects", "http://[::1]:8080"),
        ("http://studio:8080/projects/1", "http://studio:8080"),
        ("http://studio:8080/projects/1/data?tab=3&task=12", "http://studio:8080"),
        ("http://studio:8080/projects/1/settings/ml#top", "http://studio:8080"),
        ("http://studio:8080/user/login/?next=/projects/", "http://studio:8080"),
        ("http://studio:8080/user/account/personal-access-token", "http://studio:8080"),
        ("http://studio:8080/organization", "http://studio:8080"),
        ("http://studio:8080/api/", "http://studio:8080"),
        ("http://studio:8080/api/projects/1/", "http://studio:8080"),
        ("https://example.org/label-studio/projects/1/data", "https://example.org/label-studio"),
        ("https://example.org/projects/label-studio/", "https://example.org/projects/label-studio"),
        ("https://example.org/api/label-studio", "https://example.org/api/label-studio"),
    ],
)
def test_an_address_copied_from_a_browser_is_that_of_the_server(
    pasted: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", pasted)
    assert load_settings().label_studio_url == address


def test_a_wrong_option_is_named_like_its_variable() -> None:
    assert refusal(label_studio_url="studio").startswith("LABEL_STUDIO_URL must start with http")


@pytest.mark.parametrize("token", ["se\u00e4cret", "sec\x07ret", "sec\nret", "sec\x7fret"])
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
    words = refusal()
    assert words.startswith("LABEL_STUDIO_API_KEY ")
    assert token not in words
    assert repr(token)[1:-1] not in words


def test_no_value_is_ever_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", TOKEN)  # pasted into the wrong line
    monkeypatch.setenv("ML_BACKEND_URL", f"ftp://user:{TOKEN}@model")
    words = refusal()
    assert "LABEL_STUDIO_URL" in words
    assert "ML_BACKEND_URL" in words
    assert TOKEN not in words


def test_the_token_is_hidden_when_settings_are_shown() -> None:
    settings = load_settings()
    assert TOKEN not in repr(settings)
    assert TOKEN not in str(settings)
    assert TOKEN not in settings.model_dump_json()


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.label_studio_url = "http://other"  # type: ignore[misc]


def test_the_state_is_kept_in_one_place_whatever_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_state_url() == f"sqlite:///{tmp_path}/home/.local/state/label-studio-activelab/state.sqlite"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert load_settings().state_url == f"sqlite:///{tmp_path}/state/label-studio-activelab/state.sqlite"


def test_how_long_a_server_is_waited_for_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().retry_seconds == 60
    monkeypatch.setenv("CONNECTOR_RETRY_SECONDS", "0")
    assert load_settings().retry_seconds == 0
    reasons = {
        "-1": "must be greater than or equal to 0",
        "inf": "must be a finite number",
        "nan": "must be a finite number",
        "a minute": "must be a valid number",
    }
    for wrong, reason in reasons.items():
        monkeypatch.setenv("CONNECTOR_RETRY_SECONDS", wrong)
        assert refusal() == f"CONNECTOR_RETRY_SECONDS {reason}. Use the environment or a .env file."


def test_every_setting_has_a_variable_in_capitals() -> None:
    aliases = [field.alias for field in Settings.model_fields.values()]
    addresses = ["LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "ML_BACKEND_URL"]
    credentials = ["ML_BACKEND_TOKEN", "ML_BACKEND_USERNAME", "ML_BACKEND_PASSWORD"]
    others = ["STATE", "RETRY_SECONDS", "SCORER", "MEDIA_HOSTS"]
    keys = ["CONNECTOR_LLM_API_KEY", "OPENAI_API_KEY"]
    assert aliases == [*addresses, *credentials, *(f"CONNECTOR_{name}" for name in others), *keys]


def test_hosts_of_images_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().allowed_hosts == ()
    monkeypatch.setenv("CONNECTOR_MEDIA_HOSTS", "images.lan, 10.0.0.7:9000 *.example.com,[::1]:80")
    assert load_settings().allowed_hosts == ("images.lan", "10.0.0.7:9000", "*.example.com", "[::1]:80")
    monkeypatch.setenv("CONNECTOR_MEDIA_HOSTS", "http://images.lan/a")
    with pytest.raises(UsageError, match="CONNECTOR_MEDIA_HOSTS is no list of hosts, such as images"):
        load_settings()
