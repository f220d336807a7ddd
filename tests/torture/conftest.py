"""What pytest must not import here."""

from __future__ import annotations

collect_ignore = ["dags"]  # a template, which needs a pipeline file beside it
