"""All settings in one frozen object, read from `ML_BACKEND_*` when it is created, never at import."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

ClassifierName = Literal["auto", "logistic", "logistic-cv", "transformer"]
FineTune = Literal["background", "now"]
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_IMAGE_ENCODER = "facebook/dinov2-small"
DEFAULT_AUDIO_ENCODER = "MIT/ast-finetuned-audioset-10-10-0.4593"


class Settings(BaseSettings):
    """All settings, from the environment (`ML_BACKEND_FOLDS=5`) or by keyword."""

    model_config = SettingsConfigDict(
        env_prefix="ML_BACKEND_", frozen=True, extra="ignore", protected_namespaces=(), populate_by_name=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(9090, ge=0, le=65535, description="port to listen on (0: a free one)")
    model_dir: Path = Field(Path("ml_backend_data"), description="folder of texts, features and models")
    encoder: str = Field(DEFAULT_ENCODER, min_length=1, description="a sentence-transformers model: a name or a folder")
    image_encoder: str = Field(
        DEFAULT_IMAGE_ENCODER,
        min_length=1,
        description="an image model: a name, a folder, timm:NAME, efficientnet-lite0 or pixels",
    )
    audio_encoder: str = Field(
        DEFAULT_AUDIO_ENCODER, min_length=1, description="an audio model: a name, a folder, or melstats"
    )
    classifier: ClassifierName = Field("auto", description="the classifier, if a call names none")
    c: float = Field(10.0, gt=0, description="inverse strength of the penalty of `logistic`")
    folds: int = Field(3, ge=2, le=20, description="folds of the out-of-sample probabilities, if a call names none")
    lexical_dims: int = Field(
        256, ge=0, le=1024, description="largest number of dimensions of the word and character n-grams (0: none)"
    )
    duplicate_similarity: float = Field(
        0.85,
        gt=0,
        le=1,
        description="cosine similarity of embeddings from which two texts or images are near-duplicates",
    )
    audio_duplicate_similarity: float = Field(
        0.99, gt=0, le=1, description="cosine similarity of embeddings from which two recordings are near-duplicates"
    )
    keep_media: bool = Field(True, description="keep the small copies of media when their vectors are computed")
    finetune: FineTune = Field("background", description="`auto` fine-tunes in the background, or within the training")
    finetune_steps: int = Field(100, ge=1, description="steps of the fine-tuning of an encoder")
    finetune_learning_rate: float = Field(1e-4, gt=0, description="largest learning rate of the fine-tuning")
    finetune_batch_size: int = Field(16, ge=1, description="texts per step of the fine-tuning")
    finetune_max_length: int = Field(128, ge=8, description="tokens of a text that the fine-tuning reads")
    transformer: str = Field(
        DEFAULT_ENCODER, min_length=1, description="the model that `transformer` fine-tunes: a name or a folder"
    )
    transformer_steps: int = Field(100, ge=1, description="steps of the training of a transformer")
    transformer_learning_rate: float = Field(1e-4, gt=0, description="largest learning rate of a transformer")
    transformer_batch_size: int = Field(16, ge=1, description="texts per step of a transformer")
    transformer_max_length: int = Field(128, ge=8, description="tokens of a text that a transformer reads")
    keep_versions: int = Field(3, ge=1, description="number of model versions per project that stay on disk")
    threads: int = Field(0, ge=0, description="CPU threads of encoders (0: PyTorch decides)")
    processes: int = Field(0, ge=0, description="largest number of processes for folds and shards (0: one per core)")
    divide_seconds: float = Field(20.0, ge=0, description="shorter work stays in one process")
    ray: str | None = Field(None, description="address of a Ray cluster for folds and shards, such as auto")
    label_studio_url: str | None = Field(
        None, validation_alias="LABEL_STUDIO_URL", description="where /predict fetches media that it does not know"
    )
    label_studio_api_key: SecretStr | None = Field(
        None, validation_alias="LABEL_STUDIO_API_KEY", description="token of a user who sees the projects"
    )
    media_hosts: str = Field("", description="hosts with private addresses that such media may come from")
    media_seconds: float = Field(10.0, gt=0, le=600, description="longest time that one /predict fetches")
    max_body_mb: int = Field(256, ge=1, description="largest request body, in MiB")
    max_tasks: int = Field(100_000, ge=1, description="largest number of tasks per call of /predict")
    username: str | None = Field(None, max_length=1000, description="user name of HTTP basic authentication")
    password: SecretStr | None = Field(
        None, max_length=1000, validate_default=True, description="password of HTTP basic authentication"
    )
    token: SecretStr | None = Field(None, max_length=1000, description="bearer token of the connector")

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The hosts of `media_hosts`."""
        return tuple(filter(None, re.split(r"[\s,]+", self.media_hosts)))

    @field_validator("ray", "label_studio_url")
    @classmethod
    def _none_if_empty(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("username")
    @classmethod
    def _without_colon(cls, value: str | None) -> str | None:
        if value is not None and (":" in value or not value):
            raise PydanticCustomError("username", "HTTP basic authentication needs a name without a colon")
        return value

    @field_validator("password")
    @classmethod
    def _goes_with_username(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "username" in info.data and (value is None) != (info.data["username"] is None):
            raise PydanticCustomError("pair", "ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD go together: set both")
        if value is not None and not value.get_secret_value():
            raise PydanticCustomError("password", "it is empty")
        return value

    @field_validator("token")
    @classmethod
    def _fits_in_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        token = value.get_secret_value().strip() if value is not None else ""  # a file may end with a newline
        if value is not None and not re.fullmatch("[!-~]+", token):
            raise PydanticCustomError("token", "a token is one or more ASCII letters, digits and signs, without spaces")
        return SecretStr(token) if value is not None else None
