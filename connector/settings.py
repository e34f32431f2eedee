"""Settings of the connector: one frozen object from options, environment variables and `.env`, in this order."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from connector.errors import UsageError


@dataclass(frozen=True)
class Credentials:
    """Credentials for the ML backend: a bearer token, a user name with its password, both or neither."""

    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None

    @property
    def header(self) -> str | None:
        """The Authorization header of the connector's own calls: the token if there is one, else `basic`."""
        return self.basic if self.token is None else f"Bearer {self.token.get_secret_value()}"

    @property
    def basic(self) -> str | None:
        """User name and password as an Authorization header (RFC 7617)."""
        if self.username is None or self.password is None:
            return None
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return f"Basic {b64encode(pair.encode()).decode()}"

    @property
    def for_label_studio(self) -> dict[str, str]:
        """The fields that give Label Studio these credentials: it can send a user name and a password, but no token."""
        if self.username is None or self.password is None:
            return {}
        password = self.password.get_secret_value()
        return {"auth_method": "BASIC_AUTH", "basic_auth_user": self.username, "basic_auth_pass": password}


NO_CREDENTIALS = Credentials()

# Where the path of one of Label Studio's own pages or calls begins, as in an address that was copied from a browser.
# What comes before it is the path under which a proxy serves Label Studio.
_PAGES = re.compile(
    r"/+(?:projects(?:/\d+(?:/.*)?)?|user/(?:login|signup|account)(?:/.*)?|organization(?:/webhooks)?|people"
    r"|api(?:/(?:projects|tasks|users|current-user|dm|ml|version)(?:/.*)?)?)/*$"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def server_address(url: str) -> str:
    """The address of Label Studio itself, in one spelling, for the address of any of its pages."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in (None, _DEFAULT_PORTS[parts.scheme]) else ""
    return f"{parts.scheme}://{host}{port}{_PAGES.sub('', parts.path).rstrip('/')}"


def default_state_url() -> str:
    """The SQLite file that is used if CONNECTOR_STATE is not set. It does not depend on the working directory."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"sqlite:///{home}/label-studio-activelab/state.sqlite"


class Settings(BaseSettings):
    """Where Label Studio, the ML backend and the state database are."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    label_studio_url: str = Field(alias="LABEL_STUDIO_URL")
    label_studio_api_key: SecretStr = Field(alias="LABEL_STUDIO_API_KEY")
    ml_backend_url: str = Field(default="http://127.0.0.1:9090", alias="ML_BACKEND_URL")
    ml_backend_token: SecretStr | None = Field(default=None, alias="ML_BACKEND_TOKEN")
    ml_backend_username: str | None = Field(default=None, alias="ML_BACKEND_USERNAME")
    ml_backend_password: SecretStr | None = Field(default=None, alias="ML_BACKEND_PASSWORD", validate_default=True)
    state_url: str = Field(default_factory=default_state_url, alias="CONNECTOR_STATE")
    retry_seconds: float = Field(default=60.0, ge=0, allow_inf_nan=False, alias="CONNECTOR_RETRY_SECONDS")
    scorer: Literal["activelab", "cleanlab"] = Field(default="activelab", alias="CONNECTOR_SCORER")
    media_hosts: str = Field(default="", alias="CONNECTOR_MEDIA_HOSTS")
    # Of `connector label-with`, which checks them: another command must not fail because of a key for something else.
    llm_api_key: SecretStr | None = Field(default=None, alias="CONNECTOR_LLM_API_KEY")
    openai_api_key: SecretStr | None = Field(default=None, alias="OPENAI_API_KEY")

    @property
    def credentials(self) -> Credentials:
        """The credentials for the ML backend."""
        return Credentials(self.ml_backend_token, self.ml_backend_username, self.ml_backend_password)

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The hosts with private addresses from which media may be fetched."""
        return tuple(filter(None, re.split(r"[\s,]+", self.media_hosts)))

    @field_validator("media_hosts")
    @classmethod
    def _hosts(cls, value: str) -> str:
        for host in re.split(r"[\s,]+", value):
            if not re.fullmatch(r"(?:(?:\*\.)?[\w.-]+(?::\d{1,5})?|\[[0-9a-fA-F:.]+\](?::\d{1,5})?)?", host):
                raise ValueError("is no list of hosts, such as images.lan,10.0.0.7:9000")
        return value

    @field_validator("label_studio_url", "ml_backend_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        value = value.strip()
        if not value.lower().startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        try:
            parts = urlsplit(value)
            complete = bool(parts.hostname) and parts.port != 0
        except ValueError:
            complete = False
        if not complete:
            raise ValueError("is not a web address")
        if parts.username or parts.password:
            raise ValueError("contains a user name or password, which would be printed with the address")
        return value.rstrip("/")

    @field_validator("label_studio_url")
    @classmethod
    def _of_the_server(cls, value: str) -> str:
        return server_address(value)

    @field_validator("label_studio_api_key", "ml_backend_token")
    @classmethod
    def _clean(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        token = value.get_secret_value().strip()  # a token read from a file often ends with a line break
        if not token:
            raise ValueError("is empty")
        if not (token.isascii() and token.isprintable()):
            raise ValueError("contains characters that no token has")
        return SecretStr(token)

    @field_validator("ml_backend_username", "ml_backend_password")
    @classmethod
    def _sendable(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        try:
            text.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError("contains characters beyond Latin-1, which Label Studio cannot send") from None
        if info.field_name == "ml_backend_username":
            if ":" in text:
                raise ValueError("contains a colon, which HTTP basic authentication does not allow in a user name")
        elif "ml_backend_username" in info.data and (value is None) != (info.data["ml_backend_username"] is None):
            raise ValueError("and ML_BACKEND_USERNAME go together: set both, or neither")
        return value


_REMEDIES = {
    "LABEL_STUDIO_URL": "the address of Label Studio, for example http://localhost:8080",
    "LABEL_STUDIO_API_KEY": "a token from Label Studio's Account & Settings page (a legacy or a personal access token)",
    "ML_BACKEND_URL": "the address of the ML backend, for example http://localhost:9090",
}


def load_settings(flags: Mapping[str, str] | None = None, /, **options: Any) -> Settings:
    """Settings from those `options` that are not None, the environment and `.env`.

    Raises UsageError that names each setting that is missing or wrong. It repeats no value, because some are secrets.
    `flags`: what a person types for the options, such as {"state_url": "--state"}. Other settings have no option.
    """
    names = {name: field.alias or name for name, field in Settings.model_fields.items()}
    values = {names[name]: value for name, value in options.items() if value is not None}
    try:
        return Settings(**values)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{Path('.env').absolute()} cannot be read: {reason}.") from None
    except ValidationError as error:
        sentences, typed = [], list[str]()
        for problem in error.errors(include_input=False, include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else "settings"
            name = names.get(name, name)  # an error in a default has the field's own name
            what = "is not set" if problem["type"] == "missing" else _in_our_words(problem["msg"])
            remedy = _REMEDIES.get(name)
            sentences.append(f"{name} {what}" + (f": give {remedy}" if remedy else ""))
            typed += [flag for field, flag in (flags or {}).items() if names[field] == name]
        folder = " The .env here is a folder, not a file." if Path(".env").is_dir() else ""
        places = "the environment or a .env file" + (f", or {' and '.join(typed)}" if typed else "")
        raise UsageError(f"{'. '.join(sentences)}. Use {places}.{folder}") from None


def _in_our_words(reason: str) -> str:
    """Why a value is wrong, as it follows the name of the setting."""
    reason = reason.removeprefix("Value error, ").replace("Input should be", "must be")
    return reason.partition(", unable to parse")[0]
