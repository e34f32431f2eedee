"""Helpers of the tests, by what they are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
