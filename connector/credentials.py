"""By what the ML backend knows the connector, and Label Studio."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from pydantic import SecretStr


@dataclass(frozen=True)
class Credentials:
    """A bearer token, a user name with its password, both or neither."""

    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None

    @property
    def header(self) -> str | None:
        """The Authorization header of the connector's own calls: the token, else user name and password."""
        return self.basic if self.token is None else f"Bearer {self.token.get_secret_value()}"

    @property
    def basic(self) -> str | None:
        """User name and password as an Authorization header (RFC 7617)."""
        if self.username is None or self.password is None:
            return None
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return f"Basic {b64encode(pair.encode()).decode()}"

    @property
    def of_label_studio(self) -> dict[str, str]:
        """What Label Studio is told with an ML backend's address: it sends user names and passwords alone."""
        if self.username is None or self.password is None:
            return {}
        password = self.password.get_secret_value()
        return {"auth_method": "BASIC_AUTH", "basic_auth_user": self.username, "basic_auth_pass": password}


NONE = Credentials()
