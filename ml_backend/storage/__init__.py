"""What a project keeps on disk: its dataset, atomic files and locks."""

from ml_backend.storage.dataset import Dataset, digest

__all__ = ["Dataset", "digest"]
