"""What several tests share; see each module."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
